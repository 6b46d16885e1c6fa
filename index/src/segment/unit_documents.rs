//! Which documents have a part of their content in a unit.

use super::View;

/// The documents of each unit, next to each other: a search of a common word asks for those of most
/// units, and following units to pieces, blobs and documents waits for memory at every step.
pub(crate) struct UnitDocuments {
    /// Where the documents of a unit start; one more than there are units.
    starts: Vec<u32>,
    documents: Vec<u32>,
}

impl UnitDocuments {
    /// Reads the tables of a segment.
    pub(super) fn new(view: &View) -> Self {
        let mut starts = Vec::with_capacity(view.units.len() as usize + 1);
        let mut documents = Vec::with_capacity(view.pieces.len() as usize);
        for unit in 0..view.units.len() {
            starts.push(documents.len() as u32);
            for piece in view.pieces_of(unit) {
                documents.extend(view.documents_of(view.pieces.get(piece).blob));
            }
        }
        starts.push(documents.len() as u32);
        documents.shrink_to_fit();
        Self { starts, documents }
    }

    /// Those of one unit.
    ///
    /// # Panics
    /// If there is no such unit.
    pub(crate) fn of(&self, unit: u32) -> &[u32] {
        let unit = unit as usize;
        &self.documents[self.starts[unit] as usize..self.starts[unit + 1] as usize]
    }
}
