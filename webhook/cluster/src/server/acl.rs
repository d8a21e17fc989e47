//! Users and their passwords: how to log in to a server that has this configuration.
//!
//! Guarantees: users are made as `acl.c` makes them: `requirepass` gives the user `default` its
//! password, a line `user default` replaces that as a whole, and an ACL file replaces both, also
//! where it does not name that user. Only passwords that are written out can be used.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::Secret;

/// What AUTH takes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credential {
    /// The user; `None` is the user `default`, for which AUTH has one argument.
    pub user: Option<String>,
    /// Its password.
    pub password: Secret,
}

/// The password of the user `default`, and how peers are spoken to.
#[derive(Clone, Debug, Default)]
pub(super) struct Passwords {
    /// `requirepass`.
    pub(super) required: Option<Secret>,
    /// `masteruser` or `primaryuser`.
    pub(super) master_user: Option<String>,
    /// `masterauth` or `primaryauth`.
    pub(super) master_auth: Option<Secret>,
}

/// Users in the order in which they are defined.
#[derive(Clone, Debug, Default)]
pub(super) struct Users {
    defined: Vec<(String, User)>,
    repeated: Vec<String>,
}

/// What decides whether and how a user can log in.
#[derive(Clone, Debug, Default)]
struct User {
    on: bool,
    /// Any password does.
    open: bool,
    passwords: Vec<String>,
    /// SHA-256, in hexadecimal digits.
    hashes: Vec<String>,
    all_commands: bool,
}

const DEFAULT: &str = "default";

// === impl Users ===

impl Users {
    /// A line `user NAME RULES...`.
    pub(super) fn define(&mut self, name: &str, rules: &[String]) {
        let mut user = User::default();
        let mut in_selector = false;
        for rule in rules {
            in_selector |= rule.starts_with('(');
            if !in_selector {
                user.apply(rule);
            }
            in_selector &= !rule.ends_with(')');
        }
        // Up to 6.2 the later line counts; from 7.0 on the server stops.
        if let Some((_, earlier)) = self.defined.iter_mut().find(|(n, _)| n == name) {
            *earlier = user;
            self.repeated.push(name.to_owned());
        } else {
            self.defined.push((name.to_owned(), user));
        }
    }

    /// The users of an ACL file, whose lines know no quotes.
    pub(super) fn of_file(text: &str) -> Self {
        let mut users = Self::default();
        for line in text.lines() {
            let line = line.trim_matches([' ', '\t', '\r']);
            let mut words = line.split(' ').filter(|w| !w.is_empty()).map(str::to_owned);
            if words.next().as_deref() == Some("user")
                && let Some(name) = words.next()
            {
                users.define(&name, &words.collect::<Vec<_>>());
            }
        }
        // Without a line of its own that user is made anew: open, whatever `requirepass` says.
        if users.get(DEFAULT).is_none() {
            users.defined.push((DEFAULT.to_owned(), User::open()));
        }
        users
    }

    pub(super) fn is_empty(&self) -> bool {
        self.defined.is_empty()
    }

    /// The names that are defined more than once.
    pub(super) fn repeated(&self) -> impl Iterator<Item = &str> {
        self.repeated.iter().map(String::as_str)
    }

    /// Whether anybody is the user `default` without a password.
    pub(super) fn is_open(&self, passwords: &Passwords) -> bool {
        let default = self.default_user(passwords);
        default.on && default.open
    }

    /// Whether this server itself takes one of the credentials, or needs none.
    pub(super) fn let_in(&self, passwords: &Passwords) -> bool {
        let takes = |c: &Credential| {
            let user = match &c.user {
                None => Some(self.default_user(passwords)),
                Some(name) => self.get(name).cloned(),
            };
            user.is_some_and(|user| user.on && (user.open || user.takes(&c.password.0)))
        };
        self.is_open(passwords) || self.credentials(passwords).iter().any(takes)
    }

    /// What to log in with, the best first.
    ///
    /// Peers are spoken to with the same list. Hence the passwords for replication, which fit the
    /// other members by definition, go before those of other users.
    pub(super) fn credentials(&self, passwords: &Passwords) -> Vec<Credential> {
        let mut out = Vec::new();
        let mut add = |user: &str, password: &str| {
            let user = (user != DEFAULT).then(|| user.to_owned());
            let credential = Credential { user, password: Secret(password.to_owned()) };
            if !out.contains(&credential) {
                out.push(credential);
            }
        };
        let default = self.default_user(passwords);
        let master_user = passwords.master_user.as_deref().unwrap_or(DEFAULT);
        let master_auth = passwords.master_auth.as_ref().map(|Secret(p)| p.as_str());
        // Of several passwords the one that replicas use is known to all members.
        if default.on
            && let Some(password) = master_auth.filter(|p| default.takes(p))
        {
            add(DEFAULT, password);
        }
        if default.on {
            let required = passwords.required.iter().map(|Secret(p)| p);
            let known = required.filter(|p| default.takes(p)).chain(&default.passwords);
            known.for_each(|password| add(DEFAULT, password));
        }
        if let Some(password) = master_auth {
            add(master_user, password);
        }
        for (name, user) in self.defined.iter().filter(|(_, u)| u.on && u.all_commands) {
            if name != DEFAULT {
                user.passwords.iter().for_each(|password| add(name, password));
            }
        }
        out
    }

    fn default_user(&self, passwords: &Passwords) -> User {
        match (self.get(DEFAULT), &passwords.required) {
            (Some(user), _) => user.clone(),
            (None, None) => User::open(),
            (None, Some(Secret(password))) => {
                let passwords = vec![password.clone()];
                User { open: false, passwords, ..User::open() }
            }
        }
    }

    fn get(&self, name: &str) -> Option<&User> {
        self.defined.iter().find(|(n, _)| n == name).map(|(_, user)| user)
    }
}

// === impl User ===

impl User {
    fn open() -> Self {
        Self { on: true, open: true, all_commands: true, ..Self::default() }
    }

    fn apply(&mut self, rule: &str) {
        let mut chars = rule.chars();
        match (chars.next(), chars.as_str()) {
            (Some('>'), password) => {
                self.open = false;
                self.passwords.push(password.to_owned());
            }
            (Some('<'), password) => self.forget(&sha256(password)),
            (Some('#'), hash) => {
                self.open = false;
                self.hashes.push(hash.to_owned());
            }
            (Some('!'), hash) => self.forget(hash),
            _ => match rule.to_ascii_lowercase().as_str() {
                "on" => self.on = true,
                "off" => self.on = false,
                "nopass" => {
                    self.forget_all();
                    self.open = true;
                }
                "resetpass" => self.forget_all(),
                "reset" => *self = Self::default(),
                "allcommands" | "+@all" => self.all_commands = true,
                "nocommands" | "-@all" => self.all_commands = false,
                _ => {}
            },
        }
    }

    fn takes(&self, password: &str) -> bool {
        self.passwords.iter().any(|p| p == password) || self.hashes.contains(&sha256(password))
    }

    fn forget(&mut self, hash: &str) {
        self.passwords.retain(|p| sha256(p) != hash);
        self.hashes.retain(|h| h != hash);
    }

    fn forget_all(&mut self) {
        self.open = false;
        self.passwords.clear();
        self.hashes.clear();
    }
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(lines: &[&str]) -> Users {
        let mut users = Users::default();
        for line in lines {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            users.define(&words[0], &words[1..]);
        }
        users
    }

    fn passwords(required: &str, master_user: &str, master_auth: &str) -> Passwords {
        let secret = |text: &str| (!text.is_empty()).then(|| Secret(text.to_owned()));
        Passwords {
            required: secret(required),
            master_user: (!master_user.is_empty()).then(|| master_user.to_owned()),
            master_auth: secret(master_auth),
        }
    }

    fn shown(users: &Users, passwords: &Passwords) -> String {
        let one =
            |c: Credential| c.user.map_or(String::new(), |user| format!("{user}:")) + &c.password.0;
        let all: Vec<_> = users.credentials(passwords).into_iter().map(one).collect();
        let open = if users.is_open(passwords) { " open" } else { "" };
        all.join(" ") + open
    }

    #[test]
    fn the_default_user_is_the_one_that_the_server_makes() {
        let none = Users::default();
        assert_eq!(shown(&none, &passwords("", "", "")), " open");
        assert_eq!(shown(&none, &passwords("p", "", "")), "p");
        assert_eq!(shown(&none, &passwords("p", "", "p")), "p");
        assert_eq!(shown(&none, &passwords("", "", "m")), "m open");
        let user = |rules| shown(&users(&[rules]), &passwords("p", "", ""));
        assert_eq!(user("default on (~a nopass +@all) >q (nopass)"), "q");
        assert_eq!(user("default on >q +@all"), "q");
        assert_eq!(user("default on nopass"), " open");
        assert_eq!(user("default >q"), "");
        assert_eq!(user("default on nopass >q"), "q");
        assert_eq!(user("default ON >q NOPASS resetpass"), "");
        assert_eq!(user("default on >old >new <old"), "new");
        assert_eq!(user("default on >q reset on"), "");
    }

    #[test]
    fn a_hash_is_used_where_its_password_is_known() {
        let hash = sha256("p");
        assert!(hash.starts_with("148de9c5"), "{hash}");
        let line = format!("default on #{hash}");
        assert_eq!(shown(&users(&[&line]), &passwords("p", "", "")), "p");
        assert_eq!(shown(&users(&[&line]), &passwords("x", "", "p")), "p");
        assert_eq!(shown(&users(&[&line]), &passwords("", "", "")), "");
        let gone = format!("default on >p !{hash}");
        assert_eq!(shown(&users(&[&gone]), &passwords("", "", "")), "");
    }

    #[test]
    fn of_several_passwords_that_of_replication_comes_first() {
        let rotation = users(&["default on >old >new"]);
        assert_eq!(shown(&rotation, &passwords("", "", "new")), "new old");
        assert_eq!(shown(&rotation, &passwords("", "", "")), "old new");
    }

    #[test]
    fn another_user_is_taken_where_the_default_one_is_off() {
        let users =
            users(&["default off", "weak on >w +get", "copy on >c +psync", "root on >r +@all"]);
        assert_eq!(shown(&users, &passwords("", "copy", "c")), "copy:c root:r");
        assert_eq!(shown(&users, &passwords("", "", "")), "root:r");
    }

    #[test]
    fn a_file_of_users_replaces_the_password() {
        let of = |text| shown(&Users::of_file(text), &passwords("p", "", ""));
        assert_eq!(of(""), " open");
        assert_eq!(of("user default on >q ~* +@all\n"), "q");
        assert_eq!(of("\n  user other on >o +@all\r\n"), "other:o open");
        assert_eq!(of("# user default on >q\n"), " open");
    }

    #[test]
    fn the_later_line_counts_and_is_named() {
        let twice = users(&["a on >1 +@all", "a on >2 +@all", "default off"]);
        assert_eq!(twice.repeated().collect::<Vec<_>>(), ["a"]);
        assert_eq!(shown(&twice, &passwords("", "", "")), "a:2");
    }
}
