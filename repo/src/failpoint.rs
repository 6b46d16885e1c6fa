//! Places where a test can stop or break the work; nothing without the feature `failpoints`.

/// A named place. With the feature, `fail::cfg` decides what happens there: `return` gives an I/O
/// error with the given text (`full` for a full disk), `pause`, `panic` and `abort` as they say.
#[macro_export]
#[doc(hidden)]
macro_rules! failpoint {
    ($name:literal) => {{
        #[cfg(feature = "failpoints")]
        ::fail::fail_point!($name, |argument: Option<String>| {
            let kind = match argument.as_deref() {
                Some("full") => ::std::io::ErrorKind::StorageFull,
                _ => ::std::io::ErrorKind::Other,
            };
            let error = ::std::io::Error::new(kind, concat!("failpoint ", $name));
            Err($crate::git::GitError::failpoint($name, error).into())
        });
    }};
}
