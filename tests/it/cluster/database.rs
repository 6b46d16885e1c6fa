//! A cluster whose PostgreSQL goes away and comes back.

use serde_json::json;

use super::{SOON, found, repositories, results};
use crate::harness::{Cluster, POSTGRES, Request, Way, free_address, server};

#[test]
fn nodes_answer_and_restore_while_the_database_is_away() {
    let [user, password, server, name] = server(POSTGRES);
    let way = Way::to(server.parse().unwrap());
    let setting = format!("database_url=postgres://{user}:{password}@{}/{name}", way.address);
    let mut cluster = Cluster::start(3, &[SOON, &setting]);
    cluster.settled(0, 3);
    let repositories = repositories(4);
    for git in &repositories[..3] {
        cluster.add(0, &git.url());
    }
    let ask = |cluster: &Cluster, node| cluster.search(node, "haystack count:all", "").json();
    let wanted = found(&ask(&cluster, 0));
    assert_eq!(wanted.len(), 3);

    way.cut();
    let add = |cluster: &Cluster, node: usize| {
        let body = json!({"url": repositories[3].url()});
        Request::new("POST", "/api/v1/repos").json(&body).send(cluster.nodes[node].http)
    };
    for node in 0..3 {
        let ready = cluster.get(node, "/readyz");
        assert_eq!(ready.status, 200, "{}", ready.text());
        assert_eq!(found(&ask(&cluster, node)), wanted);
        // Without it nobody knows how many repositories there are; all else is told.
        let metrics = cluster.get(node, "/metrics");
        assert_eq!(metrics.status, 200, "{}", metrics.text());
        assert!(
            metrics.text().contains("code_search_indexer_shards_active 3"),
            "{}",
            metrics.text()
        );
        assert!(!metrics.text().contains("state=\"ready\""), "{}", metrics.text());
        add(&cluster, node).assert_problem(503, "catalog-unavailable");
    }
    way.mend();
    cluster.wait_until("settled with the database", || ask(&cluster, 0)["complete"] == true);
    for node in 0..3 {
        cluster.uploaded(node);
    }

    // The owner of a repository dies while nobody can be told in the database.
    let victim = cluster.owner_of(0, "owner/repository0");
    let via = (victim + 1) % 3;
    let shards = |cluster: &Cluster| cluster.get(via, "/api/v1/cluster/shards").json();
    let owned = shards(&cluster)["shards"].as_array().unwrap().clone();
    let owned: Vec<_> = owned
        .iter()
        .filter(|shard| shard["owner"] == cluster.nodes[victim].name.as_str())
        .map(|shard| shard["shard"].as_u64().unwrap() as usize)
        .collect();
    way.cut();
    cluster.kill(victim);
    cluster.wait_until("searched", || {
        let shards = shards(&cluster);
        owned.iter().all(|shard| shards["shards"][*shard]["state"] == "read-only")
    });
    let answer = ask(&cluster, via);
    assert_eq!(answer["complete"], false, "{answer}");
    let skipped = answer["skipped"].as_array().unwrap();
    assert!(skipped.iter().all(|skipped| skipped["reason"] == "indexStale"), "{answer}");
    assert_eq!(results(&answer), wanted);
    let status = cluster.get(via, "/api/v1/cluster").json();
    assert_eq!(status["status"], "yellow", "{status}");
    let reasons = status["reasons"].to_string();
    assert!(reasons.contains("until the database answers their owners"), "{reasons}");
    let last = status.get("lastFailure").map(ToString::to_string).unwrap_or_default();
    assert!(!last.contains("Activate"), "that it waits is no failure: {last}");

    // One that starts meanwhile waits, and says for what.
    cluster.begin_again(victim, &free_address().to_string());
    let http = cluster.nodes[victim].http;
    cluster.wait_until("waiting", || {
        let ready = Request::new("GET", "/readyz").try_send(http);
        ready
            .is_ok_and(|ready| ready.text().contains("the node starts, and waits for the database"))
    });
    assert_eq!(cluster.get(victim, "/livez").status, 200);

    way.mend();
    cluster.opened(victim);
    cluster.settled(via, 3);
    cluster.wait_until("complete", || ask(&cluster, via)["complete"] == true);
    assert_eq!(found(&ask(&cluster, via)), wanted);
    cluster.wait_until("added", || add(&cluster, via).status == 202);
    cluster.wait_until("found", || results(&ask(&cluster, via)).len() == 4);
}
