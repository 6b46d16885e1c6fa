use aeterna_index::search::*;
use aeterna_index::*;
use aeterna_repo::git::*;
use std::time::Instant;
fn cpu() -> f64 { let t = std::fs::read_to_string("/proc/self/stat").unwrap(); let f: Vec<&str> = t.rsplit(')').next().unwrap().split_whitespace().collect(); (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0 }
fn hwm() -> String { std::fs::read_to_string("/proc/self/status").unwrap().lines().filter(|l| l.starts_with("VmHWM") || l.starts_with("RssAnon")).collect::<Vec<_>>().join(" ") }
struct P; impl ProgressSink for P { fn progress(&self, _: u64, _: u64, _: u64) {} fn cancelled(&self) -> bool { false } }
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let git = std::path::Path::new(&args[1]);
    let dir = std::path::Path::new(&args[2]);
    let head = String::from_utf8(std::process::Command::new("git").args(["-C", &args[1], "rev-parse", "HEAD"]).output().unwrap().stdout).unwrap().trim().to_owned();
    let shards = ShardSet::open(dir, 1, ShardOptions::default()).unwrap();
    let id = RepositoryId(uuid::Uuid::from_u128(7));
    let shard = shards.shard_of(id);
    if shard.revisions(id).is_none() {
        let (t, c) = (Instant::now(), cpu());
        let objects = ObjectDb::open(&git.join("objects"), HashKind::Sha1, 96 << 20).unwrap();
        let stop = || false;
        let mut reader = objects.reader();
        let mut trees = Trees::new(&mut reader, 10_000_000, &stop);
        let commit = gix::ObjectId::from_hex(head.as_bytes()).unwrap();
        let listing = trees.list::<aeterna_index::languages::Attributes>(&commit).unwrap();
        println!("list {:?} cpu {:.2}", t.elapsed(), cpu() - c);
        let update = RepositoryUpdate { repository: RepositoryInfo { id, tenant: "default".into(), name: "x/linux".into(), default_branch: Some("main".into()), fork: false, archived: false, public: true, license: None }, revisions: vec![RevisionChange::Replace { name: "main".into(), commit: head, files: listing.files }] };
        let a = shard.apply(&update, &MirrorSource::new(&objects), &P).unwrap();
        println!("apply {:?} cpu {:.2} {a:?} {}", t.elapsed(), cpu() - c, hwm());
    }
    if args.get(3).map(String::as_str) == Some("sym") {
        let (t, c) = (Instant::now(), cpu());
        while shard.maintain(&|| false).unwrap() != Maintenance::Idle {}
        println!("maintain {:?} cpu {:.2} {}", t.elapsed(), cpu() - c, hwm());
    }
    let s = shard.stats();
    println!("{s:?} ratio {:.3}", s.bytes as f64 / s.content_bytes as f64);
    for q in args.iter().skip(4) {
        for _ in 0..3 {
            let t = Instant::now();
            let r = shards.search(&SearchRequest { query: q.clone(), visible: Visible::All, page_size: 50, context_lines: 0, chunks: true, facets: false, explain: true, cursor: None, limits: Limits::default() }).unwrap();
            let e = r.explain.unwrap();
            println!("{q}: {:?} results {} counts {:?}/{:?} cand {} ver {} read {}MB {:?}", t.elapsed(), r.results.len(), r.counts.lines.value, r.counts.documents, e.candidates, e.verified, e.bytes_read >> 20, r.steps.iter().map(|s| (s.step, s.elapsed.as_micros())).collect::<Vec<_>>());
            if std::env::var("SHOW").is_ok() { for m in r.results.iter().take(5) { println!("   {:.2} {} {:?}", m.score, String::from_utf8_lossy(&m.path), m.chunks.first().map(|c| (c.start.line, String::from_utf8_lossy(&c.content).into_owned()))); } }
        }
    }
    println!("{}", hwm());
}
