//! A server between object store and node that spoils what it passes on, as it is told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoil {
    Nothing,
    /// Two of three requests are answered with "slow down".
    Throttle,
    /// Every request is answered with "your token has expired", which has status 400.
    Expired,
    /// Every request is answered with "there is no such bucket".
    NoBucket,
    /// So many parts of objects are taken, and no more.
    Parts(u64),
    /// Of every second answer with a body, half of the body arrives.
    CutAnswers,
}

#[derive(Debug)]
struct State {
    spoil: Spoil,
    requests: u64,
    /// Parts of objects that were passed on.
    parts: u64,
    spoiled: u64,
}

/// One connection serves one request.
pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// In front of a server.
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { spoil: Spoil::Nothing, requests: 0, parts: 0, spoiled: 0 };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = shared.clone();
                // A client that has gone is its own business.
                tokio::spawn(async move { drop(serve(client, upstream, &state).await) });
            }
        });
        Self { address, state, serving }
    }

    /// From now on this goes wrong; returns requests and how many were spoiled since the last time.
    pub fn spoil(&self, spoil: Spoil) -> (u64, u64) {
        let new = State { spoil, requests: 0, parts: 0, spoiled: 0 };
        let before = std::mem::replace(&mut *self.state.lock().unwrap(), new);
        (before.requests, before.spoiled)
    }
}

impl Proxy {
    /// Parts of objects that were passed on since the last change.
    pub fn parts(&self) -> u64 {
        self.state.lock().unwrap().parts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A message's head, and what of its body was read with it.
async fn head(stream: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let body = read.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&read).into_owned(), body));
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn length(head: &str) -> usize {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next().map_or(0, |(_, value)| value.trim().parse().unwrap())
}

async fn body(
    stream: &mut TcpStream,
    mut read: Vec<u8>,
    length: usize,
) -> std::io::Result<Vec<u8>> {
    while read.len() < length && stream.read_buf(&mut read).await? > 0 {}
    Ok(read)
}

async fn serve(
    mut client: TcpStream,
    upstream: SocketAddr,
    state: &Mutex<State>,
) -> std::io::Result<()> {
    let (request, rest) = head(&mut client).await?;
    let sent = body(&mut client, rest, length(&request)).await?;
    let is_part = request.contains("partNumber=");
    let (spoil, number, no_more) = {
        let mut state = state.lock().unwrap();
        state.requests += 1;
        let no_more = matches!(state.spoil, Spoil::Parts(most) if is_part && state.parts >= most);
        state.parts += u64::from(is_part && !no_more);
        (state.spoil, state.requests, no_more)
    };
    let spoiled = || state.lock().unwrap().spoiled += 1;
    let refusal = match spoil {
        Spoil::Throttle if number % 3 != 0 => Some(("503 Slow Down", "SlowDown")),
        Spoil::Parts(_) if no_more => Some(("503 Slow Down", "SlowDown")),
        Spoil::Expired => Some(("400 Bad Request", "ExpiredToken")),
        Spoil::NoBucket => Some(("404 Not Found", "NoSuchBucket")),
        _ => None,
    };
    if let Some((status, code)) = refusal {
        spoiled();
        let xml = format!("<Error><Code>{code}</Code><Message>as it was told to</Message></Error>");
        let length = xml.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/xml\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{xml}"
        );
        client.write_all(answer.as_bytes()).await?;
        return client.shutdown().await;
    }
    let mut server = TcpStream::connect(upstream).await?;
    server.write_all(request.as_bytes()).await?;
    server.write_all(&sent).await?;
    let (answer, rest) = head(&mut server).await?;
    let has_body = !request.starts_with("HEAD ") && length(&answer) > 1;
    let wanted = if request.starts_with("HEAD ") { 0 } else { length(&answer) };
    let chunked = answer.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let mut bytes = match chunked {
        // Ends with the terminating chunk; SeaweedFS sends lists like this.
        true => {
            let mut read = rest;
            while !read.ends_with(b"0\r\n\r\n") && server.read_buf(&mut read).await? > 0 {}
            read
        }
        false => body(&mut server, rest, wanted).await?,
    };
    let answer = answer.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    if spoil == Spoil::CutAnswers && has_body && number % 2 == 0 {
        spoiled();
        bytes.truncate(bytes.len() / 2);
    }
    client.write_all(answer.as_bytes()).await?;
    client.write_all(&bytes).await?;
    client.shutdown().await
}
