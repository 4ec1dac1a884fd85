//! Files and directories, made to stay: what is written here is on the disk when the call returns.
//! Never looks inside a file of sled or of the tail.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Syncs a directory, so that the names in it stay.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Writes a small file so that it holds either its old or its new content, never a part.
pub(super) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = with_suffix(path, "new");
    let mut file = File::create(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    rename(&draft, path)
}

/// The directory a name stands in; `.` for a bare name.
fn dir_of(path: &Path) -> Option<&Path> {
    path.parent().map(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir })
}

/// Makes a directory and what is missing above it, and syncs each directory that got a new name.
pub(super) fn create_dirs(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Ok(()) => dir_of(dir).map_or(Ok(()), sync_dir),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match dir_of(dir) {
            Some(parent) => create_dirs(parent).and_then(|()| create_dirs(dir)),
            None => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Renames within one directory and syncs it.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    dir_of(to).map_or(Ok(()), sync_dir)
}

/// Removes a file if it is there, and syncs its directory.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => dir_of(path).map_or(Ok(()), sync_dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes a directory and all in it, if it is there.
pub(super) fn remove_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Copies a directory to a new place. Until it is complete it has another name.
/// `fs::copy` shares the blocks where the file system can (`copy_file_range`: btrfs, XFS).
pub(super) fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    let draft = with_suffix(to, "partial");
    remove_dir(&draft)?;
    if let Err(error) = copy_into(from, &draft) {
        // On a full disk half a copy takes the room that is missing.
        remove_dir(&draft)?;
        return Err(error);
    }
    rename(&draft, to)
}

fn copy_into(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_into(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            File::open(&target)?.sync_all()?;
        }
    }
    sync_dir(to)
}

/// Syncs every file and directory below, and the directory it lies in.
pub(super) fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_dir(dir)?;
    dir_of(dir).map_or(Ok(()), sync_dir)
}

/// Bytes the file system has allocated to every file below. What is removed meanwhile does not count.
pub(super) fn allocated(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => allocated(&entry.path())?,
            // In blocks of 512 bytes whatever the file system's own are (POSIX, sys/stat.h).
            Ok(metadata) => metadata.blocks() * 512,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
    }
    Ok(bytes)
}

/// Syncs every directory below, so that the names in them stay. Where files are synced before they get their name,
/// that is all of it.
pub(super) fn sync_dirs(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_dirs(&entry.path())?;
        }
    }
    sync_dir(dir)
}

/// Moves something aside under the first free name `<name>.damaged-N`, and says which.
pub(super) fn move_aside(path: &Path, name: &str) -> io::Result<PathBuf> {
    let dir = dir_of(path).unwrap_or(Path::new("."));
    move_aside_into(dir, path, name)
}

/// Moves something into a directory of the same file system, under the first free name `<name>.damaged-N`.
pub(super) fn move_aside_into(dir: &Path, path: &Path, name: &str) -> io::Result<PathBuf> {
    let mut n = 1_u32;
    let aside = loop {
        let candidate = dir.join(format!("{name}.damaged-{n}"));
        if !candidate.exists() {
            break candidate;
        }
        n += 1;
    };
    rename(path, &aside)?;
    dir_of(path).map_or(Ok(()), sync_dir)?;
    Ok(aside)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}
