//! Small JSON documents that are written once, by a conditional put: of several nodes that write one at the
//! same time, one does.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{ColdError, ColdStorage};

const FORMAT: u32 = 1;
/// Bytes of a document that are read at most.
const MAX_BYTES: u64 = 64 << 10;

#[derive(Serialize, Deserialize)]
struct Written<T> {
    format: u32,
    #[serde(flatten)]
    document: T,
}

impl ColdStorage {
    /// Writes a document unless there is one; returns the one that holds.
    pub(crate) async fn write_once<T: Serialize + DeserializeOwned>(
        &self,
        key: &str,
        mine: &T,
    ) -> Result<T, ColdError> {
        let written = Written { format: FORMAT, document: mine };
        let mut bytes = serde_json::to_vec_pretty(&written).map_err(|e| damaged(key, &e))?;
        bytes.push(b'\n');
        self.calls.create(key, Bytes::from(bytes)).await?;
        // Whoever wrote it: what is there holds.
        let there = self.document(key).await?;
        there.ok_or_else(|| ColdError::Missing { key: key.to_owned() })
    }

    /// A document, if there is one.
    pub(crate) async fn document<T: DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<T>, ColdError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Some(bytes) = self.calls.read(key, MAX_BYTES).await? else { return Ok(None) };
        let Format { format } = serde_json::from_slice(&bytes).map_err(|e| damaged(key, &e))?;
        if format > FORMAT {
            let key = key.to_owned();
            return Err(ColdError::Format { key, found: format, known: FORMAT });
        }
        let written: Written<T> = serde_json::from_slice(&bytes).map_err(|e| damaged(key, &e))?;
        Ok(Some(written.document))
    }
}

fn damaged(key: &str, error: &serde_json::Error) -> ColdError {
    ColdError::Damaged { key: key.to_owned(), detail: error.to_string() }
}
