//! Whoever watches the nodes: what each sees of the shard map, and whether it still runs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::history::{Ended, Entry, Span, View};
use crate::node::Node;
use crate::world::World;

const LOOK_EVERY_MS: u64 = 250;
/// Before a node that ended by itself is started again, as a platform would.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Watches a node until the run is over.
pub(crate) fn watch(world: &Arc<World>, place: usize) {
    let node = &world.nodes[place];
    let mut last: Option<View> = None;
    while !world.is_over() {
        if let Some(status) = node.unexpected_end() {
            let at = world.history.now();
            world.history.add(Entry::Ended(Ended { node: node.name.clone(), at, status }));
            std::thread::sleep(RESTART_AFTER);
            if let Err(error) = node.start() {
                world.history.wrong(format!("{} cannot be started again: {error:#}", node.name));
            }
        }
        if let Some(view) = view(world, node)
            && last.as_ref().is_none_or(|last| is_news(last, &view))
        {
            world.history.add(Entry::View(view.clone()));
            last = Some(view);
        }
        world.pause(LOOK_EVERY_MS);
    }
}

fn is_news(last: &View, view: &View) -> bool {
    let what = |view: &View| (view.start, view.version, view.term, view.leader.clone());
    what(last) != what(view) || last.shards != view.shards
}

fn view(world: &World, node: &Node) -> Option<View> {
    let start = node.starts();
    let begun = world.history.now();
    let raft = node.cluster()?["raft"].clone();
    let map = node.get("/api/v1/cluster/shards").filter(|reply| reply.status == 200)?.json();
    let ended = world.history.now();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let shards = map["shards"].as_array()?;
    let shards = shards.iter().map(|shard| Some((shard["epoch"].as_u64()?, text(&shard["owner"]))));
    let shards = shards.collect::<Option<Vec<_>>>()?;
    // One that was started meanwhile has answered half of it.
    (node.starts() == start).then_some(View {
        node: node.name.clone(),
        start,
        span: Span { begun, ended },
        version: map["mapVersion"].as_u64()?,
        term: raft["term"].as_u64()?,
        leader: text(&raft["leader"]),
        shards,
    })
}
