//! Long blocking work, on a thread of its own: neither the runtime's threads nor its pool for
//! short blocking calls wait for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use tokio::sync::oneshot;

use crate::ManagerError;

/// Runs `work` on a new thread and waits for it. A panic is an error, not the end of the process:
/// what is read is hostile, and one repository must not stop the others.
pub(crate) async fn run<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, ManagerError> + Send + 'static,
) -> Result<T, ManagerError> {
    let (sender, receiver) = oneshot::channel();
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let what = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "without a message".to_owned());
            Err(ManagerError::Internal(format!("the work on a repository panicked ({what}); it")))
        });
        // Nobody listens when the waiting task was dropped.
        let _ = sender.send(result);
    });
    if let Err(source) = spawned {
        let path = name.into();
        return Err(ManagerError::Io { action: "cannot start the thread", path, source });
    }
    receiver.await.unwrap_or_else(|_| Err(ManagerError::Internal(format!("the thread {name}"))))
}
