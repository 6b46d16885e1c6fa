//! Nodes that start while what they need is away.

use std::net::SocketAddr;

use crate::harness::{
    Cluster, POSTGRES, Reply, Request, S3, Stray, Way, aeterna, free_address, run, server,
};

/// A node that is the first of a cluster of its own, in an empty place of the S3 server behind the way.
fn founder(cluster: &Cluster, http: SocketAddr, s3: &Way, database: &str) -> Stray {
    let [key, secret, _, bucket] = server(S3);
    let settings = [
        format!("listen={http}"),
        "node_name=founder".to_owned(),
        "cluster.join=127.0.0.1:9".to_owned(),
        "cold_storage.provider=s3".to_owned(),
        format!("cold_storage.bucket={bucket}"),
        format!("cold_storage.prefix=founder-{}", http.port()),
        format!("cold_storage.endpoint=http://{}", s3.address),
        "cold_storage.region=us-east-1".to_owned(),
        format!("database_url={database}"),
    ];
    Stray::begin(cluster, 0, &settings.each_ref().map(String::as_str), (&key, &secret))
}

/// Waits until a node says that it is not ready, and for what it waits.
#[track_caller]
fn waits(cluster: &Cluster, http: SocketAddr, what: &str) {
    let says_so = |ready: Reply| ready.status == 503 && ready.text().contains(what);
    let ask = || Request::new("GET", "/readyz").try_send(http);
    cluster.wait_until(&format!("waiting for {what}"), || ask().is_ok_and(says_so));
}

#[test]
fn a_node_that_waits_for_cold_storage_says_so_and_stops_when_it_is_asked_to() {
    let cluster = Cluster::start(1, &[]);
    let (http, nobody) = (free_address(), free_address());
    let (listen, endpoint) =
        (format!("listen={http}"), format!("cold_storage.endpoint=http://{nobody}"));
    let settings = [
        &listen,
        "node_name=other",
        "cold_storage.provider=s3",
        "cold_storage.bucket=some",
        &endpoint,
    ];
    for signal in ["-TERM", "call"] {
        let mut stray = Stray::begin(&cluster, 0, &settings, ("some", "one"));
        let get = |path: &str| Request::new("GET", path).try_send(http);
        let waits = "waits for cold storage, which says which cluster this is";
        cluster.wait_until("waiting", || {
            get("/readyz").is_ok_and(|ready| ready.status == 503 && ready.text().contains(waits))
        });
        assert_eq!(get("/livez").unwrap().json()["node"], "other");
        let search = get("/api/v1/search?q=needle").unwrap();
        search.assert_problem(503, "not-ready");
        let elsewhere = Request::new("GET", "/livez").header("Host", "evil.example");
        assert_eq!(elsewhere.send(http).status, 421);
        match signal {
            "call" => {
                assert_eq!(Request::new("POST", "/internal/shutdown").send(http).status, 204);
            }
            signal => stray.signal(signal),
        }
        assert_eq!(stray.ended(), Some(0), "{}", stray.log());
    }
}

#[test]
fn a_node_that_has_waited_for_cold_storage_begins_when_it_is_there() {
    let cluster = Cluster::start(1, &[]);
    let [.., address, _] = server(S3);
    let (http, s3) = (free_address(), Way::to(address.parse().unwrap()));
    s3.cut();
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}/catalog.db", folder.path().display());
    let mut stray = founder(&cluster, http, &s3, &database);
    waits(&cluster, http, "waits for cold storage");
    assert!(stray.facts().is_null(), "it says that it is open: {}", stray.facts());
    s3.mend();
    let ready = || Request::new("GET", "/readyz").try_send(http);
    cluster.wait_until("ready", || ready().is_ok_and(|ready| ready.status == 200));
    assert_eq!(stray.facts()["address"], http.to_string());
    let search = Request::new("GET", "/api/v1/search?q=needle").send(http);
    assert_eq!(search.status, 200, "{}", search.text());
    stray.signal("-TERM");
    assert_eq!(stray.ended(), Some(0), "{}", stray.log());
}

#[test]
fn a_node_waits_for_one_thing_after_another_and_ends_when_it_is_asked_to() {
    let cluster = Cluster::start(1, &[]);
    let [.., address, _] = server(S3);
    for by_call in [false, true] {
        let (http, s3) = (free_address(), Way::to(address.parse().unwrap()));
        s3.cut();
        let database = format!("postgres://someone:secret@{}/some", free_address());
        let mut stray = founder(&cluster, http, &s3, &database);
        waits(&cluster, http, "waits for cold storage");
        s3.mend();
        waits(&cluster, http, "waits for the database");
        let ready = Request::new("GET", "/readyz").send(http);
        let problem = ready.assert_problem(503, "not-ready");
        assert!(!problem["detail"].as_str().unwrap().contains("secret"), "{problem}");
        assert!(ready.header("retry-after").is_some(), "{problem}");
        assert_eq!(Request::new("GET", "/livez").send(http).status, 200);
        match by_call {
            true => assert_eq!(Request::new("POST", "/internal/shutdown").send(http).status, 204),
            false => stray.signal("-TERM"),
        }
        assert_eq!(stray.ended(), Some(0), "{}", stray.log());
        assert!(stray.log().contains("waits no longer for cold storage"), "{}", stray.log());
    }
}

#[test]
fn what_does_not_come_by_waiting_ends_a_node() {
    let cluster = Cluster::start(1, &[]);
    let [user, password, address, name] = server(POSTGRES);
    for (database, why) in [
        (format!("postgres://{user}:{password}@{address}/no-such-database"), "no-such-database"),
        (format!("postgres://{user}:wrong{password}@{address}/{name}"), "password authentication"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = cluster.command_of(0, &["serve"]);
        command.args(["--set", "cluster.gossip=127.0.0.1:0", "--set", "node_name=other"]);
        command.arg("--set").arg(format!("data={}", folder.path().display()));
        let ran = run(command.arg("--set").arg(format!("database_url={database}")));
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains(why), "{ran:?}");
    }
}

#[test]
fn a_node_alone_does_not_wait_for_its_database() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("database_url=postgres://someone:secret@{}/some", free_address());
    let mut command = aeterna(&["serve", "--listen", "127.0.0.1:0", "--set", &database]);
    let ran = run(command.arg("--data").arg(folder.path()));
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("cannot open what is in"), "{ran:?}");
}
