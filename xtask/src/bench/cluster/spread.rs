//! The corpus as many repositories: what a folder holds is one, and the largest are split until there
//! are enough of them and none is much larger than the others.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::bench::corpus::Corpus;
use crate::bench::imports;

/// Repositories, at least.
const AT_LEAST: usize = 100;
/// No repository has more than this part of the corpus, where it has folders to be split at.
const LARGEST_PART: u64 = 50;
/// A folder with less than this part of the corpus stays with what lies beside it.
const SMALLEST_PART: u64 = 1000;
/// Bytes of a file that is read as a repository operation, at most.
const READ_AT_MOST: u64 = 16 << 10;

/// A repository with a part of the corpus.
pub(super) struct Part {
    /// Its name, `owner/name`.
    pub(super) name: String,
    pub(super) git_dir: PathBuf,
    /// One of its files, a small one.
    pub(super) file: String,
}

/// Files under one folder, or directly in it.
struct Group {
    folder: PathBuf,
    files: Vec<(PathBuf, u64)>,
    /// Whether it holds only what lies directly in the folder, and small folders.
    is_loose: bool,
}

impl Group {
    fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes).sum()
    }

    /// One group for each folder in this one's that has so many bytes, and one for what lies beside them.
    fn split(self, smallest: u64) -> Vec<Self> {
        let mut folders: BTreeMap<PathBuf, Vec<(PathBuf, u64)>> = BTreeMap::new();
        let mut loose = Vec::new();
        for (file, bytes) in self.files {
            let below = file.strip_prefix(&self.folder).unwrap_or(&file);
            let mut parts = below.components();
            match (parts.next(), parts.next()) {
                (Some(first), Some(_)) => {
                    let folder = self.folder.join(first);
                    folders.entry(folder).or_default().push((file, bytes));
                }
                _ => loose.push((file, bytes)),
            }
        }
        let mut groups = Vec::new();
        for (folder, files) in folders {
            let group = Self { folder, files, is_loose: false };
            if group.bytes() < smallest {
                loose.extend(group.files);
            } else {
                groups.push(group);
            }
        }
        if !loose.is_empty() {
            groups.push(Self { folder: self.folder, files: loose, is_loose: true });
        }
        groups
    }

    fn name(&self, number: usize) -> String {
        let folder = self.folder.to_string_lossy().replace('/', "-");
        let kept = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
        let folder: String = folder.chars().filter(kept).take(60).collect();
        format!("{number:03}-{}", if folder.is_empty() { "root" } else { folder.as_str() })
    }
}

/// Makes the repositories, or finds them as an earlier run has made them.
pub(super) fn repositories(corpus: &Corpus, folder: &Path) -> Result<Vec<Part>> {
    let groups = groups(corpus)?;
    let done = folder.join("done");
    let is_done = fs::read_to_string(&done).is_ok_and(|commit| commit == corpus.commit);
    if !is_done {
        println!("making {} repositories of {}", groups.len(), corpus.name);
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
    }
    let mut parts = Vec::with_capacity(groups.len());
    for (number, group) in groups.iter().enumerate() {
        let name = group.name(number);
        let git_dir = folder.join(format!("{name}.git"));
        let files: Vec<&Path> = group.files.iter().map(|(file, _)| file.as_path()).collect();
        if !is_done {
            imports::make_part(&corpus.tree, &group.folder, &files, &git_dir)?;
        }
        let small = group.files.iter().filter(|(_, bytes)| *bytes <= READ_AT_MOST);
        let (file, _) = small.max_by_key(|(_, bytes)| *bytes).unwrap_or(&group.files[0]);
        let file = file.strip_prefix(&group.folder).unwrap_or(file);
        let file = file.to_string_lossy().into_owned();
        parts.push(Part { name: format!("corpus/{name}"), git_dir, file });
    }
    fs::write(&done, &corpus.commit)?;
    Ok(parts)
}

fn groups(corpus: &Corpus) -> Result<Vec<Group>> {
    let sized = |file: &PathBuf| -> Result<(PathBuf, u64)> {
        let path = corpus.tree.join(file);
        let metadata = path.symlink_metadata();
        let metadata = metadata.with_context(|| format!("cannot read {}", path.display()))?;
        Ok((file.clone(), metadata.len()))
    };
    let files: Vec<(PathBuf, u64)> = corpus.files.iter().map(sized).collect::<Result<_>>()?;
    split(Group { folder: PathBuf::new(), files, is_loose: false })
}

fn split(whole: Group) -> Result<Vec<Group>> {
    let (largest, smallest) = (whole.bytes() / LARGEST_PART, whole.bytes() / SMALLEST_PART);
    let mut groups = vec![whole];
    loop {
        let foldered = (0..groups.len()).filter(|place| !groups[*place].is_loose);
        let Some(place) = foldered.max_by_key(|place| groups[*place].bytes()) else { break };
        if groups.len() >= AT_LEAST && groups[place].bytes() <= largest {
            break;
        }
        let group = groups.swap_remove(place);
        groups.extend(group.split(smallest));
    }
    if groups.len() < AT_LEAST {
        bail!(
            "the corpus has {} folders; {AT_LEAST} are needed for as many repositories",
            groups.len()
        );
    }
    // The order in which they were split is nothing to be remembered by.
    groups.sort_by(|one, other| (&one.folder, one.is_loose).cmp(&(&other.folder, other.is_loose)));
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_in_one_part_and_the_largest_are_split() {
        let folders = (0..20).flat_map(|a| (0..10).map(move |b| format!("{a}/{b}/file.c")));
        let mut files: Vec<(PathBuf, u64)> = folders.map(|file| (file.into(), 20)).collect();
        files.push(("Makefile".into(), 10));
        files.push(("huge/inner/a.c".into(), 5_000));
        files.push(("huge/other/b.c".into(), 5_000));
        let all = files.len();
        let groups = split(Group { folder: PathBuf::new(), files, is_loose: false }).unwrap();
        assert!(groups.len() >= AT_LEAST, "{}", groups.len());
        assert_eq!(groups.iter().map(|group| group.files.len()).sum::<usize>(), all);
        let huge = groups.iter().filter(|group| group.folder.starts_with("huge")).count();
        assert_eq!(huge, 2, "its two folders are apart");
        let names: std::collections::BTreeSet<_> =
            groups.iter().enumerate().map(|(number, group)| group.name(number)).collect();
        assert_eq!(names.len(), groups.len());
        let flat = Group { folder: PathBuf::new(), files: vec![("a".into(), 1)], is_loose: false };
        assert!(split(flat).is_err());
    }
}
