//! An HTTP server that plays a git host which is none, or which wants a password.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

/// Answers every request with the same bytes until it is dropped.
pub struct Remote {
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Remote {
    /// A host with ordinary web pages.
    pub fn with_pages() -> Self {
        Self::start("200 OK", "Content-Type: text/html\r\n", "<html>no git here</html>")
    }

    /// A host that wants to know who asks.
    pub fn private() -> Self {
        Self::start("401 Unauthorized", "WWW-Authenticate: Basic realm=\"git\"\r\n", "who are you?")
    }

    /// A host without the repository.
    pub fn without_it() -> Self {
        Self::start("404 Not Found", "", "no such repository")
    }

    fn start(status: &str, headers: &str, body: &str) -> Self {
        let answer = format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut request = Vec::new();
                let mut buffer = [0; 1024];
                while !request.windows(4).any(|w| w == b"\r\n\r\n") {
                    match stream.read(&mut buffer) {
                        Ok(0) | Err(_) => break,
                        Ok(read) => request.extend_from_slice(&buffer[..read]),
                    }
                }
                if request.starts_with(b"STOP") {
                    return;
                }
                // The client may have gone; the next one is answered all the same.
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { address, thread: Some(thread) }
    }

    /// URL of a repository there.
    pub fn url(&self) -> String {
        format!("http://{}/owner/name.git", self.address)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if let Ok(mut stream) = std::net::TcpStream::connect(self.address) {
            let _ = stream.write_all(b"STOP\r\n\r\n");
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
