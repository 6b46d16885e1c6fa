//! Nodes that prove who they are: by certificates, and by the cluster's key.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::{SOON, found, repositories};
use crate::harness::{Cluster, Stray, run};

const NAME: &str = "node.test";

/// Makes an authority and a certificate by it, and returns the settings that name their files.
fn certificates(folder: &Path) -> Vec<String> {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    let files =
        [("tls_ca", authority), ("tls_certificate", certificate), ("tls_key", key.serialize_pem())];
    let mut settings = vec![format!("cluster.tls_name={NAME}")];
    for (setting, text) in files {
        let path = folder.join(setting);
        std::fs::write(&path, text).unwrap();
        settings.push(format!("cluster.{setting}={}", path.display()));
    }
    settings
}

#[test]
fn nodes_with_certificates_take_calls_of_no_others() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = certificates(ours.path());
    let settings: Vec<&str> = settings.iter().map(String::as_str).chain([SOON]).collect();
    let mut cluster = Cluster::start(3, &settings);
    cluster.settled(0, 3);
    let repositories = repositories(3);
    for (node, git) in repositories.iter().enumerate() {
        cluster.add(node, &git.url());
    }
    let wanted = found(&cluster.search(0, "haystack count:all", "").json());
    assert_eq!(wanted.len(), 3);

    // One with the key and another authority's certificate gossips, but is nobody that anyone can call.
    cluster.kill(2);
    cluster.settled(0, 2);
    let before = cluster.status(0)["mapVersion"].clone();
    let settings = certificates(theirs.path());
    let settings: Vec<&str> =
        settings.iter().map(String::as_str).chain(["node_name=stray"]).collect();
    let stray = Stray::start(&cluster, 2, &settings);
    cluster.wait_until("told", || {
        let log = stray.log();
        log.contains("stays behind what other nodes have") && log.contains("certificate")
    });
    let status = cluster.status(0);
    assert_eq!(status["mapVersion"], before, "it is given something: {status}");
    assert_eq!(found(&cluster.search(0, "haystack count:all", "").json()), wanted);
    drop(stray);
    cluster.start_again(2);
    cluster.settled(0, 3);
    cluster.wait_until("ready", || cluster.get(2, "/readyz").status == 200);
    assert_eq!(found(&cluster.search(2, "haystack count:all", "").json()), wanted);
}

#[test]
fn off_loopback_there_is_no_node_without_a_key() {
    let cluster = Cluster::start(1, &[]);
    for (setting, address) in [("cluster.listen", "0.0.0.0:0"), ("cluster.gossip", "0.0.0.0:0")] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = cluster.command_of(0, &["serve"]);
        command.arg("--set").arg(format!("data={}", folder.path().display()));
        command.args(["--set", "cluster.gossip=127.0.0.1:0", "--set", "cluster.key_file="]);
        command.args(["--set", "cluster.address=127.0.0.1"]);
        let ran = run(command.arg("--set").arg(format!("{setting}={address}")));
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains("cluster.key_file"), "{ran:?}");
    }
    let mut command = cluster.command_of(0, &["serve"]);
    let ran = run(command.args(["--set", "cluster.tls_ca=/nowhere"]));
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("cluster.tls_certificate"), "{ran:?}");
}
