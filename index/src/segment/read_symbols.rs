//! Making a segment's symbol file: contents are parsed by several threads and written in order.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::View;
use super::symbols::{StoredSymbol, SymbolFile, SymbolWriter, encode_symbols, folded_name};
use crate::IndexError;
use crate::document::ContentId;
use crate::languages::Language;
use crate::options::{ShardOptions, yield_to_searches};
use crate::symbols::{Extractor, Limits};

/// Blobs that a thread takes at a time.
const BATCH: u32 = 64;
/// Batches that may wait to be written.
const WAITING: usize = 4;

/// Symbols that other segments have of contents in a language: they are not read again.
pub(crate) type KnownSymbols = HashMap<(ContentId, Language), (Arc<SymbolFile>, u32)>;

/// One blob's symbols and their distinct folded names.
type BlobSymbols = (Vec<u8>, Vec<String>);

/// Reads the symbols of every content of a segment and writes them to a file.
pub(crate) struct SymbolReader<'a> {
    pub(crate) view: View<'a>,
    pub(crate) known: &'a KnownSymbols,
    pub(crate) options: &'a ShardOptions,
    pub(crate) cancelled: &'a (dyn Fn() -> bool + Sync),
}

impl SymbolReader<'_> {
    /// Writes the file, synced. [`IndexError::Cancelled`] leaves nothing behind.
    pub(crate) fn write(&self, path: &Path) -> Result<(), IndexError> {
        let next = AtomicU32::new(0);
        let stop = AtomicBool::new(false);
        let (sender, receiver) = sync_channel(WAITING);
        std::thread::scope(|scope| {
            for _ in 0..self.options.threads.max(1) {
                let sender = sender.clone();
                scope.spawn(|| self.work(&next, &stop, sender));
            }
            drop(sender);
            let written = self.collect(&receiver, path);
            stop.store(true, Ordering::Relaxed);
            // Threads that wait to hand something over go on and see that they are to stop.
            drop(receiver);
            written
        })?
        .finish()
    }

    fn work(
        &self,
        next: &AtomicU32,
        stop: &AtomicBool,
        sender: SyncSender<Result<(u32, Vec<BlobSymbols>), IndexError>>,
    ) {
        yield_to_searches(self.options.nice);
        let mut extractor = Extractor::new();
        let mut content = Vec::new();
        loop {
            let first = next.fetch_add(BATCH, Ordering::Relaxed);
            if first >= self.view.blobs.len() || stop.load(Ordering::Relaxed) {
                return;
            }
            let end = self.view.blobs.len().min(first + BATCH);
            let batch = (first..end).map(|blob| self.blob(blob, &mut extractor, &mut content));
            let batch = if (self.cancelled)() {
                Err(IndexError::Cancelled)
            } else {
                batch.collect::<Result<Vec<_>, _>>().map(|batch| (first, batch))
            };
            // Beyond its own pages, so that those at the seams of batches go as well.
            self.view.release_blobs(first.saturating_sub(4 * BATCH)..end);
            if sender.send(batch).is_err() {
                return;
            }
        }
    }

    /// Takes batches in as they come, and writes them in the order of blobs.
    fn collect(
        &self,
        receiver: &Receiver<Result<(u32, Vec<BlobSymbols>), IndexError>>,
        path: &Path,
    ) -> Result<SymbolWriter, IndexError> {
        let mut writer = SymbolWriter::create(path)?;
        let mut early = BTreeMap::new();
        let mut wanted = 0;
        for batch in receiver {
            let (first, blobs) = batch?;
            early.insert(first, blobs);
            while let Some(blobs) = early.remove(&wanted) {
                for (encoded, names) in &blobs {
                    writer.add(encoded, names)?;
                }
                wanted += blobs.len() as u32;
            }
        }
        Ok(writer)
    }

    fn blob(
        &self,
        blob: u32,
        extractor: &mut Extractor,
        content: &mut Vec<u8>,
    ) -> Result<BlobSymbols, IndexError> {
        let record = self.view.blobs.get(blob);
        let language =
            self.view.segment.languages.get(usize::from(record.language)).copied().flatten();
        let Some(language) = language.filter(|language| Extractor::supports(*language)) else {
            return Ok(BlobSymbols::default());
        };
        if record.omitted != 0 || record.length == 0 {
            return Ok(BlobSymbols::default());
        }
        content.clear();
        self.view.read_blob(blob, content)?;
        if let Some((file, number)) = self.known.get(&(self.view.content_id(blob)?, language)) {
            let symbols = file.symbols(*number)?;
            return Ok((encode_symbols(&symbols), names(&symbols, content)));
        }
        let limits = Limits {
            time: Duration::from_millis(self.options.symbol_timeout_ms),
            ..Limits::default()
        };
        let symbols: Vec<StoredSymbol> = match extractor.extract(language, content, &limits) {
            Ok(symbols) => symbols
                .iter()
                .map(|symbol| StoredSymbol {
                    start: symbol.name.start,
                    length: symbol.name.end - symbol.name.start,
                    kind: symbol.kind,
                    container: symbol.container,
                })
                .collect(),
            Err(error) => {
                tracing::debug!(%error, blob, "a file has no symbols");
                Vec::new()
            }
        };
        Ok((encode_symbols(&symbols), names(&symbols, content)))
    }
}

fn names(symbols: &[StoredSymbol], content: &[u8]) -> Vec<String> {
    let mut names: Vec<String> = symbols
        .iter()
        .filter_map(|symbol| {
            let start = symbol.start as usize;
            folded_name(content.get(start..start + symbol.length as usize)?)
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}
