//! A fixed-size set of small numbers: units of a segment, or documents of it.

/// A bitset over `0..len`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bits {
    words: Vec<u64>,
    len: u32,
}

impl Bits {
    /// The empty set over `0..len`.
    pub(crate) fn none(len: u32) -> Self {
        Self { words: vec![0; len.div_ceil(64) as usize], len }
    }

    /// The whole of `0..len`.
    pub(crate) fn all(len: u32) -> Self {
        let mut set = Self { words: vec![!0; len.div_ceil(64) as usize], len };
        set.trim();
        set
    }

    fn trim(&mut self) {
        if !self.len.is_multiple_of(64)
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << (self.len % 64)) - 1;
        }
    }

    /// Size of the universe.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Adds a member.
    ///
    /// # Panics
    /// If it is 64 or more above the universe.
    pub(crate) fn insert(&mut self, at: u32) {
        self.words[(at / 64) as usize] |= 1 << (at % 64);
    }

    /// Adds every member of `from..to`.
    pub(crate) fn insert_range(&mut self, from: u32, to: u32) {
        for at in from..to {
            self.insert(at);
        }
    }

    /// Whether it is a member.
    pub(crate) fn contains(&self, at: u32) -> bool {
        self.words.get((at / 64) as usize).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// Number of members.
    pub(crate) fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether there is no member.
    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Whether a member lies in `from..to`.
    pub(crate) fn any_in(&self, from: u32, to: u32) -> bool {
        (from..to).any(|at| self.contains(at))
    }

    /// Keeps the members of both.
    pub(crate) fn and(&mut self, other: &Self) {
        for (word, with) in self.words.iter_mut().zip(&other.words) {
            *word &= with;
        }
    }

    /// Takes in the members of the other.
    pub(crate) fn or(&mut self, other: &Self) {
        for (word, with) in self.words.iter_mut().zip(&other.words) {
            *word |= with;
        }
    }

    /// Takes the members of the other out.
    pub(crate) fn and_not(&mut self, other: &Self) {
        for (word, without) in self.words.iter_mut().zip(&other.words) {
            *word &= !without;
        }
    }

    /// Everything that was not a member.
    pub(crate) fn complement(mut self) -> Self {
        for word in &mut self.words {
            *word = !*word;
        }
        self.trim();
        self
    }

    /// ORs a little-endian bitmap of the same universe in.
    pub(crate) fn or_bytes(&mut self, bytes: &[u8]) {
        for (word, chunk) in self.words.iter_mut().zip(bytes.chunks(8)) {
            let mut raw = [0; 8];
            raw[..chunk.len()].copy_from_slice(chunk);
            *word |= u64::from_le_bytes(raw);
        }
        self.trim();
    }

    /// The members, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.iter_from(0)
    }

    /// The members but for the first `skipped`, ascending.
    pub(crate) fn iter_from(&self, mut skipped: usize) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(move |(index, word)| {
            let mut rest = *word;
            if skipped > 0 {
                let here = (rest.count_ones() as usize).min(skipped);
                skipped -= here;
                (0..here).for_each(|_| rest &= rest - 1);
            }
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros();
                    rest &= rest - 1;
                    index as u32 * 64 + bit
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complement_stays_in_the_universe() {
        let mut set = Bits::none(70);
        set.insert(3);
        set.insert(69);
        let other = set.clone().complement();
        assert_eq!(other.count(), 68);
        assert!(!other.contains(69) && other.contains(0) && !other.contains(70));
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 69]);
        assert_eq!(Bits::all(70).count(), 70);
        assert_eq!(Bits::all(64).count(), 64);
    }

    #[test]
    fn members_are_skipped_and_taken_out() {
        let mut set = Bits::none(200);
        let members = [0, 5, 63, 64, 70, 128, 199];
        members.iter().for_each(|member| set.insert(*member));
        for skipped in 0..=members.len() + 1 {
            let left = members.iter().copied().skip(skipped);
            assert!(set.iter_from(skipped).eq(left), "{skipped}");
        }
        let mut others = Bits::none(200);
        [5, 6, 199].iter().for_each(|member| others.insert(*member));
        set.and_not(&others);
        assert!(set.iter().eq([0, 63, 64, 70, 128]));
    }
}
