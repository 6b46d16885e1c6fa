//! Servers that the test runner has started, and ways to them that can be cut.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Names a server on which tables may be made, as `postgres://user:password@host:port/database`.
pub const POSTGRES: &str = "AETERNA_TEST_POSTGRES_URL";
/// Names an S3 server on which tests may write, as `http://key:secret@host:port/bucket`.
pub const S3: &str = "AETERNA_TEST_S3_URL";

/// An address of this machine where nobody listens.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The user, the password, the address and the path of a server that the test runner has started.
pub fn server(variable: &str) -> [String; 4] {
    let url = std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run `cargo xtask test`, which starts servers for tests")
    });
    let parts = url.split_once("://").and_then(|(_, rest)| {
        let (account, rest) = rest.split_once('@')?;
        let (user, password) = account.split_once(':')?;
        let (address, path) = rest.split_once('/')?;
        Some([user, password, address, path].map(str::to_owned))
    });
    parts.unwrap_or_else(|| panic!("{variable} has no account, address or path"))
}

/// A way to a server that can be cut.
pub struct Way {
    /// Where it begins.
    pub address: SocketAddr,
    /// What is connected; nothing may be while it is cut.
    open: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

impl Way {
    /// A way that is open.
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(Mutex::new(Some(Vec::new())));
        let shared = Arc::clone(&open);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if let Some(open) = &mut *shared.lock().unwrap() {
                    let server = TcpStream::connect(server).unwrap();
                    for (from, to) in [(&client, &server), (&server, &client)] {
                        let (mut from, mut to) =
                            (from.try_clone().unwrap(), to.try_clone().unwrap());
                        // It ends when either end does, or when the way is cut.
                        std::thread::spawn(move || {
                            let _ = io::copy(&mut from, &mut to);
                            let _ = to.shutdown(Shutdown::Both);
                        });
                    }
                    open.extend([client, server]);
                }
            }
        });
        Self { address, open }
    }

    /// Ends what is connected, and lets nothing through.
    pub fn cut(&self) {
        for stream in self.open.lock().unwrap().take().into_iter().flatten() {
            // One that has ended is cut already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets through again what is connected from now on.
    pub fn mend(&self) {
        *self.open.lock().unwrap() = Some(Vec::new());
    }
}
