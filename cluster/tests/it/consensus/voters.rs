//! Groups that are made, grow, lose nodes and shrink.

use super::group::{CLUSTER, Group, SHARDS, capacity, join};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_agree_on_the_map() {
    let group = Group::of(3).await;
    let leader = group.leader().await;
    let status = group.node(leader).status();
    assert_eq!(status.voters.len(), 3);
    assert_eq!(status.leader, Some(group.id(leader)));

    for number in 0..3 {
        assert_eq!(group.propose(join(number, 100)).await, [Ok(())]);
    }
    let map = group.same_map().await;
    assert_eq!((map.cluster(), map.shards().len()), (CLUSTER, SHARDS as usize));
    assert_eq!(map.version(), 3);
    assert_eq!(capacity(&map, 2), Some(100));
}
