//! A server that goes away and comes back, for whoever reaches it by a way of the tests.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

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
