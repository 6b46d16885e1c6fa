//! A cluster whose PostgreSQL goes away and comes back.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::{SOON, found, repositories};
use crate::harness::{Cluster, Request};

/// Names a server on which tables may be made; nothing else is in its own database.
const POSTGRES: &str = "AETERNA_TEST_POSTGRES_URL";

/// A way to a server that can be cut.
struct Way {
    address: SocketAddr,
    /// What is connected; nothing may be while it is cut.
    open: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

impl Way {
    fn to(server: SocketAddr) -> Self {
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

    fn cut(&self) {
        for stream in self.open.lock().unwrap().take().into_iter().flatten() {
            // One that has ended is cut already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        *self.open.lock().unwrap() = Some(Vec::new());
    }
}

#[test]
fn nodes_stay_ready_and_answer_while_the_database_is_away() {
    let url = std::env::var(POSTGRES).unwrap_or_else(|_| {
        panic!("{POSTGRES} is not set: run `cargo xtask test`, which starts a PostgreSQL for tests")
    });
    let (before, rest) = url.split_once('@').expect("the server's URL has a user");
    let (server, database) = rest.split_once('/').expect("the server's URL has a database");
    let way = Way::to(server.parse().unwrap());
    let setting = format!("database_url={before}@{}/{database}", way.address);
    let cluster = Cluster::start(2, &[SOON, &setting]);
    cluster.settled(0, 2);
    let repositories = repositories(3);
    for git in &repositories[..2] {
        cluster.add(0, &git.url());
    }
    let search = |node| found(&cluster.search(node, "haystack count:all", "").json());
    let wanted = search(0);
    assert_eq!(wanted.len(), 2);

    way.cut();
    let add = |node: usize| {
        let body = json!({"url": repositories[2].url()});
        Request::new("POST", "/api/v1/repos").json(&body).send(cluster.nodes[node].http)
    };
    for node in 0..2 {
        let ready = cluster.get(node, "/readyz");
        assert_eq!(ready.status, 200, "{}", ready.text());
        assert_eq!(search(node), wanted);
        // Without it nobody knows how many repositories there are; all else is told.
        let metrics = cluster.get(node, "/metrics");
        assert_eq!(metrics.status, 200, "{}", metrics.text());
        assert!(
            metrics.text().contains("code_search_indexer_shards_active 2"),
            "{}",
            metrics.text()
        );
        assert!(!metrics.text().contains("state=\"ready\""), "{}", metrics.text());
        add(node).assert_problem(503, "catalog-unavailable");
    }
    way.mend();
    cluster.wait_until("added", || add(1).status == 202);
    cluster.wait_until("found", || search(0).len() == 3);
}
