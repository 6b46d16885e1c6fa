//! Changes of the catalog under the epoch of a shard, on SQLite and on PostgreSQL.

use aeterna_index::RepositoryId;
use aeterna_repo::State;
use aeterna_repo::catalog::{
    Catalog, CatalogError, Fence, FetchedFacts, IndexedFacts, JobKind, NodeFacts, NodeStatus,
};
use aeterna_repo::{DatabaseUrl, EventKind};
use uuid::Uuid;

use crate::catalog::{Databases, inserted, new};

fn fence(epoch: u64) -> Fence {
    Fence { shard: 3, epoch }
}

fn is_fenced<T: std::fmt::Debug>(result: Result<T, CatalogError>) -> bool {
    matches!(result, Err(CatalogError::Fenced { shard: 3, epoch: 1 }))
}

#[tokio::test]
async fn nothing_is_changed_under_an_epoch_that_is_over() {
    for catalog in Databases::new().await.open().await {
        let old = catalog.under(fence(1));
        assert!(is_fenced(old.insert(&new("x/y", "x")).await), "before the epoch is raised");
        catalog.raise_epoch(fence(1)).await.unwrap();
        let id = inserted(&old, &new("a/b", "u")).await.repository.id;
        old.request_job(id, JobKind::Sync).await.unwrap();
        old.set_state(id, State::Cloning).await.unwrap();
        old.add_event(id, EventKind::Fetched, "before").await.unwrap();
        catalog.raise_epoch(fence(1)).await.unwrap();
        catalog.raise_epoch(fence(2)).await.unwrap();
        let (record, job) = (catalog.record(id).await.unwrap(), catalog.job(id).await.unwrap());
        let fetched = FetchedFacts { default_branch: None, size_bytes: 1, license: None };
        let indexed = IndexedFacts { revisions: Default::default(), document_count: 1 };
        let request = job.as_ref().unwrap().request;
        assert!(is_fenced(old.insert(&new("c/d", "v")).await));
        assert!(is_fenced(old.request_job(id, JobKind::Remove).await));
        assert!(is_fenced(old.set_state(id, State::Indexing).await));
        assert!(is_fenced(old.set_fetched(id, &fetched).await));
        assert!(is_fenced(old.set_indexed(id, &indexed, None, request).await));
        assert!(is_fenced(old.job_failed(job.as_ref().unwrap(), 1, ("c", "m"), None).await));
        assert!(is_fenced(old.mark_removed(id).await));
        assert!(is_fenced(old.delete(id).await));
        assert!(is_fenced(old.add_event(id, EventKind::Failed, "late").await));
        assert!(is_fenced(catalog.raise_epoch(fence(1)).await));
        assert_eq!(catalog.record(id).await.unwrap(), record);
        assert_eq!(catalog.job(id).await.unwrap(), job);
        assert_eq!(catalog.events(id, 10).await.unwrap().len(), 1);
        let other = catalog.under(Fence { shard: 4, epoch: 1 });
        catalog.raise_epoch(Fence { shard: 4, epoch: 1 }).await.unwrap();
        inserted(&other, &new("c/d", "v")).await;
        catalog.under(fence(2)).set_state(id, State::Indexing).await.unwrap();
        assert_eq!(catalog.of_shard(3).await.unwrap().len(), 1);
        assert_eq!(catalog.of_shard(4).await.unwrap()[0].repository.name, "c/d");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_whole_before_the_epoch_is_raised_or_refused_after_it() {
    for catalog in Databases::new().await.open().await {
        catalog.raise_epoch(fence(1)).await.unwrap();
        let old = catalog.under(fence(1));
        let changing: Vec<_> = (0..20)
            .map(|number| {
                let old = old.clone();
                tokio::spawn(async move {
                    let wanted = new(&format!("a/{number}"), &format!("u{number}"));
                    old.insert(&wanted).await.is_ok()
                })
            })
            .collect();
        catalog.raise_epoch(fence(2)).await.unwrap();
        let seen = catalog.of_shard(3).await.unwrap().len();
        let mut done = 0;
        for change in changing {
            done += usize::from(change.await.unwrap());
        }
        assert_eq!(done, seen, "what the new owner sees is all that there will be");
        assert_eq!(catalog.of_shard(3).await.unwrap().len(), seen);
    }
}

#[tokio::test]
async fn a_catalog_belongs_to_one_cluster_and_knows_the_shard_of_each_repository() {
    for catalog in Databases::new().await.open().await {
        let (mine, theirs) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let id = inserted(&catalog, &new("a/b", "u")).await.repository.id;
        let number_of = |_: RepositoryId| 3;
        catalog.join_cluster(mine, 8, number_of).await.unwrap();
        catalog.join_cluster(mine, 8, number_of).await.unwrap();
        assert_eq!(catalog.of_shard(3).await.unwrap()[0].repository.id, id);
        for (cluster, shards) in [(theirs, 8), (mine, 16)] {
            let refused = catalog.join_cluster(cluster, shards, number_of).await.unwrap_err();
            assert!(matches!(refused, CatalogError::OtherCluster { number: 8, .. }), "{refused}");
        }
        catalog.raise_epoch(fence(1)).await.unwrap();
        assert_eq!(catalog.under(fence(1)).overdue(i64::MAX).await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_nodes_may_open_a_new_catalog_at_the_same_time() {
    let databases = Databases::new().await;
    for url in &databases.urls {
        let opening: Vec<_> = (0..8)
            .map(|_| {
                let url: DatabaseUrl = url.clone();
                tokio::spawn(async move { Catalog::open(&url, 2, 5).await.map(drop) })
            })
            .collect();
        for opened in opening {
            opened.await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn the_table_of_nodes_says_what_they_last_said_of_themselves() {
    for catalog in Databases::new().await.open().await {
        let node = |name: &str, generation, status| NodeFacts {
            name: name.to_owned(),
            generation,
            status,
            shards_serving: 7,
            ..NodeFacts::default()
        };
        let rows = async || {
            let rows = catalog.nodes().await.unwrap();
            rows.into_iter()
                .map(|row| (row.shard_id, row.generation, row.status))
                .collect::<Vec<_>>()
        };
        let row =
            |name: &str, generation, status: &str| (name.to_owned(), generation, status.to_owned());
        catalog.write_node(&node("b", 1, NodeStatus::Active)).await.unwrap();
        catalog.write_node(&node("a", 1, NodeStatus::Draining)).await.unwrap();
        assert_eq!(rows().await, [row("a", 1, "draining"), row("b", 1, "active")]);
        let first = catalog.nodes().await.unwrap().remove(0);
        assert!(first.shards_serving == 7 && first.last_heartbeat > 1_700_000_000_000, "{first:?}");
        // Who has stopped does not live again but by a new start, and who was started later stays.
        catalog.write_node(&node("a", 1, NodeStatus::Stopped)).await.unwrap();
        catalog.write_node(&node("a", 1, NodeStatus::Active)).await.unwrap();
        catalog.write_node(&node("b", 5, NodeStatus::Active)).await.unwrap();
        catalog.write_node(&node("b", 4, NodeStatus::Stopped)).await.unwrap();
        assert_eq!(rows().await, [row("a", 1, "stopped"), row("b", 5, "active")]);
        // The dead cannot say so themselves.
        catalog.write_dead_node("a", 1).await.unwrap();
        catalog.write_dead_node("b", 4).await.unwrap();
        assert_eq!(rows().await, [row("a", 1, "stopped"), row("b", 5, "active")]);
        catalog.write_dead_node("b", 5).await.unwrap();
        catalog.write_node(&node("a", 2, NodeStatus::Active)).await.unwrap();
        assert_eq!(rows().await, [row("a", 2, "active"), row("b", 5, "dead")]);
        catalog.forget_node("b").await.unwrap();
        assert_eq!(rows().await, [row("a", 2, "active")]);
    }
}
