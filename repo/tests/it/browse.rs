//! Reading files and folders of what is indexed.

use aeterna_repo::{Repository, TreeKind};

use crate::support::{Node, Origin, add};

#[tokio::test(flavor = "multi_thread")]
async fn files_and_folders_are_read_and_nothing_else() {
    let node = Node::new();
    let mut config = node.config();
    config.git.max_file_bytes = 1000;
    let manager = aeterna_repo::RepoManager::open(config).await.unwrap();
    let origin = Origin::with_file("dir/file.txt", "content");
    origin.write("big", &[b'x'; 2000]);
    std::os::unix::fs::symlink("dir/file.txt", origin.path().join("link")).unwrap();
    let old = origin.commit("files");
    origin.git(&["branch", "old"]);
    origin.write("dir/file.txt", b"newer");
    let new = origin.commit("newer");
    origin.git(&["branch", "not-indexed"]);
    let repository: Repository = add(&manager, &origin.url(), &["HEAD", "old"]).await;
    let id = repository.id;

    let file = manager.file(id, None, b"dir/file.txt").await.unwrap();
    assert_eq!((file.content.as_slice(), file.revision.as_str()), (b"newer".as_slice(), "main"));
    assert_eq!((file.commit.as_str(), file.kind), (new.as_str(), TreeKind::File));
    for rev in ["old", &old, &old[..7], &old.to_uppercase()] {
        let file = manager.file(id, Some(rev), b"dir/file.txt").await.unwrap();
        assert_eq!(file.content, b"content", "{rev}");
    }
    let link = manager.file(id, Some("main"), b"link").await.unwrap();
    assert_eq!(
        (link.content.as_slice(), link.kind),
        (b"dir/file.txt".as_slice(), TreeKind::Symlink)
    );

    let root = manager.tree(id, None, b"").await.unwrap();
    let names: Vec<_> = root.iter().map(|entry| (entry.name.as_slice(), entry.kind)).collect();
    assert_eq!(
        names,
        [
            (b"big".as_slice(), TreeKind::File),
            (b"dir", TreeKind::Folder),
            (b"link", TreeKind::Symlink)
        ]
    );
    assert_eq!(root[0].size, Some(2000));
    let folder = manager.tree(id, None, b"dir/").await.unwrap();
    assert_eq!(folder[0].path, b"dir/file.txt");

    for path in
        ["../etc/passwd", "/etc/passwd", "dir/../../x", "dir//x", "./big", "a\0b", "/", ".."]
    {
        for error in [
            manager.file(id, None, path.as_bytes()).await.map(drop).unwrap_err(),
            manager.tree(id, None, path.as_bytes()).await.map(drop).unwrap_err(),
        ] {
            assert_eq!(error.code(), "path-outside-repository", "{path:?}");
        }
    }
    let code = async |rev: Option<&str>, path: &str| {
        manager.file(id, rev, path.as_bytes()).await.unwrap_err().code()
    };
    assert_eq!(code(None, "nothing").await, "path-not-found");
    assert_eq!(code(None, "big/nothing").await, "path-not-found");
    assert_eq!(code(None, "dir").await, "not-a-file");
    assert_eq!(code(None, "big").await, "file-too-large");
    for rev in ["not-indexed", "refs/heads/main", "main~1", "--all", "abc", &"0".repeat(40)] {
        assert_eq!(code(Some(rev), "big").await, "revision-not-indexed", "{rev}");
    }
    assert_eq!(manager.tree(id, None, b"big").await.unwrap_err().code(), "not-a-folder");
    manager.shutdown().await;
}
