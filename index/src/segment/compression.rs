//! Compressing units of content: LZ4 HC with a dictionary of what a segment's contents share.
//!
//! Units are small, so that a search decompresses little beside what it looks for, and a small unit
//! alone compresses badly. A dictionary makes up for it: `docs/decisions/0004` has the measurements.
//! It is trained by zstd's `ZDICT_trainFromBuffer` (the fastCover algorithm) and used as plain
//! history, as `LZ4_loadDictHC` and `LZ4_decompress_safe_usingDict` take it.

use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_void};
use std::ptr::NonNull;

// The crate that builds the C library; the functions that it does not declare are declared here.
use lz4_sys::LZ4_compressBound;

use crate::IndexError;

/// Bytes of a dictionary, at most: with a unit it fits into LZ4's window of 64 KiB.
pub(super) const DICTIONARY_BYTES: usize = 48 << 10;
/// `docs/decisions/0002` has the measurements.
const LEVEL: c_int = 3;

// From lz4.h and lz4hc.h, all of them stable since 1.10.0, which `lz4-sys` builds.
unsafe extern "C" {
    fn LZ4_createStreamHC() -> *mut c_void;
    fn LZ4_freeStreamHC(stream: *mut c_void) -> c_int;
    fn LZ4_resetStreamHC_fast(stream: *mut c_void, level: c_int);
    fn LZ4_loadDictHC(stream: *mut c_void, dictionary: *const c_char, length: c_int) -> c_int;
    fn LZ4_attach_HC_dictionary(working: *mut c_void, dictionary: *const c_void);
    fn LZ4_compress_HC_continue(
        stream: *mut c_void,
        source: *const c_char,
        target: *mut c_char,
        source_length: c_int,
        target_length: c_int,
    ) -> c_int;
    fn LZ4_decompress_safe_usingDict(
        source: *const c_char,
        target: *mut c_char,
        source_length: c_int,
        target_length: c_int,
        dictionary: *const c_char,
        dictionary_length: c_int,
    ) -> c_int;
}

/// Trains a dictionary of samples that lie one after another; an empty one where they are too few
/// or have nothing in common.
pub(super) fn train(samples: &[u8], lengths: &[usize]) -> Vec<u8> {
    zstd::dict::from_continuous(samples, lengths, DICTIONARY_BYTES).unwrap_or_else(|error| {
        tracing::debug!(%error, samples = lengths.len(), "contents have no dictionary");
        Vec::new()
    })
}

/// A stream of the C library, freed when dropped.
struct Stream(NonNull<c_void>);

impl Stream {
    fn new() -> Result<Self, IndexError> {
        // SAFETY: allocates, and takes nothing.
        let stream = unsafe { LZ4_createStreamHC() };
        NonNull::new(stream).map(Self).ok_or_else(|| failed("there is no memory for LZ4"))
    }

    fn reset(&mut self) {
        // SAFETY: the stream is one that was created.
        unsafe { LZ4_resetStreamHC_fast(self.0.as_ptr(), LEVEL) };
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: it was created by the library and is freed once.
        unsafe { LZ4_freeStreamHC(self.0.as_ptr()) };
    }
}

/// Compresses units; one for each thread.
pub(crate) struct Compressor<'a> {
    working: Stream,
    /// Holds a pointer to the dictionary's bytes.
    dictionary: Option<Stream>,
    _bytes: &'a [u8],
    buffer: Vec<u8>,
}

impl<'a> Compressor<'a> {
    /// With a dictionary, which may be empty.
    pub(crate) fn new(dictionary: &'a [u8]) -> Result<Self, IndexError> {
        let loaded = if dictionary.is_empty() {
            None
        } else {
            let mut stream = Stream::new()?;
            stream.reset();
            // SAFETY: pointer and length are of one slice, which lives as long as the stream: both
            // are fields of one value.
            unsafe {
                LZ4_loadDictHC(
                    stream.0.as_ptr(),
                    dictionary.as_ptr().cast(),
                    length_of(dictionary)?,
                );
            }
            Some(stream)
        };
        let working = Stream::new()?;
        Ok(Self { working, dictionary: loaded, _bytes: dictionary, buffer: Vec::new() })
    }

    /// A unit's stored form: compressed, or as it is where that is not smaller.
    pub(crate) fn compress<'b>(&'b mut self, unit: &'b [u8]) -> Result<&'b [u8], IndexError> {
        let length = length_of(unit)?;
        // SAFETY: arithmetic on the number alone.
        let bound = unsafe { LZ4_compressBound(length) };
        self.buffer.resize(usize::try_from(bound).unwrap_or_default(), 0);
        self.working.reset();
        // SAFETY: both streams are live, and the dictionary's is not written to from here on; source
        // and target are slices with the lengths that are passed.
        let written = unsafe {
            if let Some(dictionary) = &self.dictionary {
                LZ4_attach_HC_dictionary(self.working.0.as_ptr(), dictionary.0.as_ptr());
            }
            LZ4_compress_HC_continue(
                self.working.0.as_ptr(),
                unit.as_ptr().cast(),
                self.buffer.as_mut_ptr().cast(),
                length,
                bound,
            )
        };
        match usize::try_from(written) {
            Ok(0) | Err(_) => Err(failed("LZ4 refused")),
            Ok(written) if written < unit.len() => Ok(&self.buffer[..written]),
            Ok(_) => Ok(unit),
        }
    }
}

fn length_of(bytes: &[u8]) -> Result<c_int, IndexError> {
    c_int::try_from(bytes.len()).map_err(|_| failed("a unit is too large"))
}

fn failed(detail: &str) -> IndexError {
    IndexError::io("cannot compress", "a unit of content")(std::io::Error::other(detail.to_owned()))
}

thread_local! {
    static DECODER: RefCell<Decoder> = RefCell::default();
}

/// Undoes [`Compressor::compress`] for a unit of `length` bytes into `unit`; `false` where the bytes
/// do not fit. `owner` names the dictionary: no two have the same one.
pub(crate) fn decompress(
    stored: &[u8],
    length: usize,
    owner: u64,
    dictionary: &[u8],
    unit: &mut Vec<u8>,
) -> bool {
    unit.clear();
    if stored.len() == length {
        unit.extend_from_slice(stored);
        return true;
    }
    DECODER.with_borrow_mut(|decoder| {
        let text = decoder.decompress(stored, length, owner, dictionary);
        text.is_some_and(|text| {
            unit.extend_from_slice(text);
            true
        })
    })
}

/// What a thread decompresses with.
///
/// The unit is written right behind a copy of the dictionary: LZ4 then decodes twice as fast as with
/// a dictionary anywhere else, since matches in it are like any other. The copy stays for the next
/// unit.
#[derive(Default)]
struct Decoder {
    /// The dictionary, and room for a unit.
    bytes: Vec<u8>,
    dictionary_length: usize,
    /// Whose dictionary it is.
    owner: Option<u64>,
}

impl Decoder {
    fn decompress(
        &mut self,
        stored: &[u8],
        length: usize,
        owner: u64,
        dictionary: &[u8],
    ) -> Option<&[u8]> {
        if self.owner != Some(owner) {
            self.bytes.clear();
            self.bytes.extend_from_slice(dictionary);
            (self.dictionary_length, self.owner) = (dictionary.len(), Some(owner));
        }
        if self.bytes.len() < self.dictionary_length + length {
            self.bytes.resize(self.dictionary_length + length, 0);
        }
        let (dictionary, unit) = self.bytes.split_at_mut(self.dictionary_length);
        let unit = &mut unit[..length];
        let lengths = (length_of(stored), length_of(unit), length_of(dictionary));
        let (Ok(stored_length), Ok(wanted), Ok(dictionary_length)) = lengths else { return None };
        // SAFETY: pointers and lengths are of three slices; the library reads and writes only within
        // them, whatever the bytes are.
        let written = unsafe {
            LZ4_decompress_safe_usingDict(
                stored.as_ptr().cast(),
                unit.as_mut_ptr().cast(),
                stored_length,
                wanted,
                dictionary.as_ptr().cast(),
                dictionary_length,
            )
        };
        (written == wanted).then_some(unit)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn texts() -> Vec<Vec<u8>> {
        let line = |n: u32| format!("static int device_{}_probe(struct device *{n})\n", n % 97);
        (0..400u32).map(|n| (n..n + 40).map(line).collect::<String>().into_bytes()).collect()
    }

    fn dictionary() -> Vec<u8> {
        let texts = texts();
        let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        train(&texts.concat(), &lengths)
    }

    #[test]
    fn units_come_back_and_are_smaller_with_a_dictionary() {
        let dictionary = dictionary();
        assert!(!dictionary.is_empty() && dictionary.len() <= DICTIONARY_BYTES);
        let mut sizes = Vec::new();
        for dictionary in [&[], dictionary.as_slice()] {
            let mut compressor = Compressor::new(dictionary).unwrap();
            let mut size = 0;
            for text in texts() {
                let stored = compressor.compress(&text).unwrap();
                size += stored.len();
                let mut unit = Vec::new();
                let owner = dictionary.len() as u64;
                assert!(decompress(stored, text.len(), owner, dictionary, &mut unit));
                assert!(unit == text);
            }
            sizes.push(size);
        }
        assert!(sizes[1] * 2 < sizes[0], "{sizes:?}");
    }

    #[test]
    fn what_does_not_shrink_is_stored_as_it_is() {
        let dictionary = dictionary();
        let noise: Vec<u8> = (0..500u32)
            .flat_map(|n| xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes()).to_le_bytes())
            .collect();
        let mut compressor = Compressor::new(&dictionary).unwrap();
        assert_eq!(compressor.compress(&noise).unwrap(), noise);
        assert_eq!(compressor.compress(b"a").unwrap(), b"a");
    }

    #[test]
    fn damage_is_told() {
        let dictionary = dictionary();
        let text = &texts()[7];
        let mut compressor = Compressor::new(&dictionary).unwrap();
        let stored = compressor.compress(text).unwrap().to_vec();
        let read = |stored: &[u8], length, owner, dictionary: &[u8]| {
            let mut unit = Vec::new();
            decompress(stored, length, owner, dictionary, &mut unit).then_some(unit)
        };
        assert_eq!(read(&stored[..stored.len() - 1], text.len(), 1, &dictionary), None);
        assert_eq!(read(&stored, text.len() - 1, 1, &dictionary), None);
        assert_eq!(read(&stored, text.len(), 2, &[]), None, "matches reach into the dictionary");
        assert_eq!(read(&stored, text.len(), 1, &dictionary).as_ref(), Some(text));
    }

    #[test]
    fn too_few_samples_have_no_dictionary() {
        assert!(train(&[], &[]).is_empty());
        assert!(train(b"abc", &[3]).is_empty());
    }
}
