//! What WebDAV adds to HTTP: folders that must be made, and names that are given afterwards.
//!
//! Servers differ in what they offer, so it is found out once for each place.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU8, Ordering};

use ::url::Url;
use reqwest::{Method, StatusCode};
use tokio::sync::Mutex;

use super::super::fault::Fault;
use super::caller::Caller;
use super::look::look;

/// Whether a server can rename.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renaming {
    /// Nobody has asked yet.
    Unknown,
    /// It seems so, but only doing it tells.
    Likely,
    /// It can.
    Offered,
    /// It can't.
    Missing,
}

/// What was found out about a server.
#[derive(Debug, Default)]
pub(super) struct Abilities {
    renaming: AtomicU8,
    /// Paths of folders that are there, or that files will tell of.
    folders: Mutex<HashSet<String>>,
}

impl Abilities {
    pub(super) fn renaming(&self) -> Renaming {
        match self.renaming.load(Ordering::Relaxed) {
            0 => Renaming::Unknown,
            1 => Renaming::Likely,
            2 => Renaming::Offered,
            _ => Renaming::Missing,
        }
    }

    pub(super) fn note_renaming(&self, renaming: Renaming) {
        let code = match renaming {
            Renaming::Unknown => 0,
            Renaming::Likely => 1,
            Renaming::Offered => 2,
            Renaming::Missing => 3,
        };
        self.renaming.store(code, Ordering::Relaxed);
    }

    /// Asks the server to rename a file that is not there: what it says tells whether it could,
    /// and whether the login is right, before anything large is sent.
    ///
    /// # Errors
    /// It does not answer, or refuses the login.
    pub(super) async fn find_out(&self, caller: &Caller, file: &Url) -> Result<(), Fault> {
        if self.renaming() != Renaming::Unknown {
            return Ok(());
        }
        let name = format!(".skyprep-{:016x}", fastrand::u64(..));
        let from = beside(file, &format!("{name}.partial"));
        let to = beside(file, &format!("{name}.moved"));
        let answer = caller.send(&from, rename(caller, &from, &to)).await?;
        let status = answer.status();
        let found = match status {
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Renaming::Missing,
            StatusCode::UNAUTHORIZED => return Err(caller.refusal(file, answer).await),
            _ if status.is_redirection() || status.is_server_error() => {
                return Err(caller.refusal(file, answer).await);
            }
            _ => Renaming::Likely,
        };
        self.note_renaming(found);
        Ok(())
    }

    /// Makes the folder of a file, and those above it, where they are missing; once for each.
    ///
    /// A server that makes folders itself, or knows none, refuses: whether that matters the file
    /// will tell. To ask first is cheaper than to send a large file in vain.
    ///
    /// # Errors
    /// The server does not answer, refuses the login, or has no room.
    pub(super) async fn make_folders(&self, caller: &Caller, file: &Url) -> Result<(), Fault> {
        // One at a time: files of one folder come together.
        let mut made = self.folders.lock().await;
        let mut missing = Vec::new();
        let mut folder = folder_of(file);
        loop {
            if !made.contains(folder.path()) {
                let can_be = make_folder(caller, &folder).await?;
                if !can_be && folder.path() != "/" {
                    let above = folder_of(&folder);
                    if !made.contains(above.path()) {
                        missing.push(folder);
                        folder = above;
                        continue;
                    }
                }
                made.insert(folder.path().to_owned());
            }
            match missing.pop() {
                Some(next) => folder = next,
                None => return Ok(()),
            }
        }
    }
}

/// Makes a folder; says whether it can be, or whether one above it is missing.
async fn make_folder(caller: &Caller, folder: &Url) -> Result<bool, Fault> {
    let answer = caller.send(folder, mkcol(caller, folder)).await?;
    let status = answer.status();
    match status {
        StatusCode::CONFLICT | StatusCode::NOT_FOUND => Ok(false),
        _ if status.is_success() => Ok(true),
        _ => match caller.refusal(folder, answer).await {
            Fault::Lasting(_)
                if !matches!(
                    status,
                    StatusCode::UNAUTHORIZED | StatusCode::INSUFFICIENT_STORAGE
                ) =>
            {
                Ok(true)
            }
            fault => Err(fault),
        },
    }
}

fn mkcol(caller: &Caller, folder: &Url) -> reqwest::RequestBuilder {
    caller.request(Method::from_bytes(b"MKCOL").unwrap_or_default(), folder)
}

/// Says why nothing can be put beside a file, where the server has better words for folders than
/// for files: nginx says 500 to a PUT whatever is wrong, but 403 or 507 to MKCOL.
pub(super) async fn reason(caller: &Caller, file: &Url) -> Option<Fault> {
    let folder = beside(file, &format!(".skyprep-{:016x}/", fastrand::u64(..)));
    let answer = caller.send(&folder, mkcol(caller, &folder)).await.ok()?;
    match answer.status() {
        StatusCode::FORBIDDEN | StatusCode::INSUFFICIENT_STORAGE => {
            Some(caller.refusal(file, answer).await)
        }
        status if status.is_success() => {
            let request = caller.request(Method::DELETE, &folder);
            let _ = caller.send(&folder, request).await;
            None
        }
        _ => None,
    }
}

/// What became of a request to rename.
#[derive(Debug)]
pub(super) enum Renamed {
    /// It is done.
    Done,
    /// The server can't, won't, or has nothing under the first name.
    Refused(Fault),
}

/// Gives an object its final name, in the place of what has it now.
///
/// # Errors
/// The server does not answer, or refuses.
pub(super) async fn give_name(
    caller: &Caller,
    abilities: &Abilities,
    from: &Url,
    to: &Url,
) -> Result<Renamed, Fault> {
    let answer = caller.send(from, rename(caller, from, to)).await?;
    let status = answer.status();
    match status {
        StatusCode::CREATED | StatusCode::NO_CONTENT => {
            abilities.note_renaming(Renaming::Offered);
            Ok(Renamed::Done)
        }
        // No answer that is known for this: see what has happened.
        _ if status.is_success() => match look(caller, from).await? {
            Some(_) => Err(Fault::network(
                to.as_str(),
                format!("the server says {status} to a MOVE, but has not moved anything"),
            )),
            None => Ok(Renamed::Done),
        },
        StatusCode::BAD_REQUEST
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::CONFLICT
        | StatusCode::NOT_IMPLEMENTED => Ok(Renamed::Refused(caller.refusal(to, answer).await)),
        _ => Err(caller.refusal(to, answer).await),
    }
}

fn rename(caller: &Caller, from: &Url, to: &Url) -> reqwest::RequestBuilder {
    let request = caller.request(Method::from_bytes(b"MOVE").unwrap_or_default(), from);
    request
        .header("destination", to.as_str())
        .header("overwrite", "T")
}

/// Returns the URL of the folder that holds a file or folder.
fn folder_of(url: &Url) -> Url {
    let mut folder = url.clone();
    let path = url.path().trim_end_matches('/');
    let end = path.rfind('/').map_or(0, |slash| slash + 1);
    folder.set_path(path.get(..end).unwrap_or("/"));
    folder
}

/// Returns the URL of another file in the same folder; `name` needs no escapes.
fn beside(file: &Url, name: &str) -> Url {
    let mut other = folder_of(file);
    let path = format!("{}{name}", other.path());
    other.set_path(&path);
    other
}

/// Returns the hidden name that an object has until it is whole.
pub(super) fn partial(file: &Url) -> Url {
    let name = file.path().rsplit('/').next().unwrap_or_default();
    beside(file, &format!(".{name}.partial"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beside_a_file() {
        let url = |text: &str| Url::parse(text).unwrap();
        let file = url("http://h:81/a%20b/c%25%2Bd.txt");
        assert_eq!(
            partial(&file),
            url("http://h:81/a%20b/.c%25%2Bd.txt.partial")
        );
        assert_eq!(folder_of(&file), url("http://h:81/a%20b/"));
        assert_eq!(folder_of(&url("http://h/a/")), url("http://h/"));
        assert_eq!(folder_of(&url("http://h/")), url("http://h/"));
    }
}
