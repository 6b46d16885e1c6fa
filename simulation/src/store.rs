//! The object store that all nodes share, as each of them sees it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use futures_util::{FutureExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::remote::{NoAnswer, Remote};

/// What is in the store.
pub type Shelf = Arc<InMemory>;

/// The store as one node sees it.
pub struct Store {
    node: usize,
    shelf: Shelf,
    remote: Arc<Remote>,
}

impl Store {
    /// Of a node.
    pub fn new(node: usize, shelf: Shelf, remote: Arc<Remote>) -> Arc<Self> {
        Arc::new(Self { node, shelf, remote })
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(Shelf) -> Option<Result<T>> + Send + 'static,
    ) -> Result<T> {
        let shelf = Arc::clone(&self.shelf);
        match self.remote.call(self.node, move || work(shelf)).await {
            Ok(Some(result)) => result,
            Ok(None) | Err(NoAnswer) => {
                Err(Error::Generic { store: "simulated", source: "it is not in the mood".into() })
            }
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("node", &self.node).finish_non_exhaustive()
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a simulated store")
    }
}

/// Objects in memory are never waited for.
fn now<T>(work: impl Future<Output = T>) -> Option<T> {
    work.now_or_never()
}

#[async_trait]
impl ObjectStore for Store {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let location = location.clone();
        self.call(move |shelf| now(shelf.put_opts(&location, payload, options))).await
    }

    async fn put_multipart_opts(
        &self,
        _location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        // Files of the simulation are smaller than a part.
        let source = "the simulated store takes whole objects only".into();
        Err(Error::NotSupported { source })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let location = location.clone();
        self.call(move |shelf| now(shelf.get_opts(&location, options))).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (node, shelf, remote) = (self.node, Arc::clone(&self.shelf), Arc::clone(&self.remote));
        let store = Arc::new(Self { node, shelf, remote });
        let deleting = locations.and_then(move |location| {
            let store = Arc::clone(&store);
            async move {
                let gone = location.clone();
                let deleted = store.call(move |shelf| {
                    let one = stream::iter([Ok(gone)]).boxed();
                    now(shelf.delete_stream(one).try_collect::<Vec<_>>())
                });
                deleted.await.map(|_| location)
            }
        });
        deleting.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (node, shelf, remote) = (self.node, Arc::clone(&self.shelf), Arc::clone(&self.remote));
        let store = Self { node, shelf, remote };
        let prefix = prefix.cloned();
        let listing = async move {
            let all =
                store.call(move |shelf| now(shelf.list(prefix.as_ref()).try_collect::<Vec<_>>()));
            match all.await {
                Ok(all) => all.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            }
        };
        listing.map(stream::iter).flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let prefix = prefix.cloned();
        self.call(move |shelf| now(shelf.list_with_delimiter(prefix.as_ref()))).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (from, to) = (from.clone(), to.clone());
        self.call(move |shelf| now(shelf.copy_opts(&from, &to, options))).await
    }
}
