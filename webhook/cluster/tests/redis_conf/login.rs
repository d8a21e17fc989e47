//! How one logs in: passwords, users, and files of users.

use cluster::nodes::Target;
use cluster::server::Credential;

use super::*;

fn logins(config: &ServerConfig) -> String {
    let one =
        |c: &Credential| format!("{}:{}", c.user.as_deref().unwrap_or_default(), c.password.0);
    config.credentials.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[rstest]
#[case::nobody_needs_one("", "", None)]
#[case::required("requirepass a", ":a", Some("a"))]
#[case::of_replication_only("masterauth a", ":a", None)]
#[case::a_user_line_beats_it("user default on >b +@all\nrequirepass a", ":b", Some("b"))]
#[case::rotation("user default on >old >new +@all\nmasterauth new", ":new :old", Some("new"))]
#[case::opened("requirepass a\nuser default on nopass ~* +@all", "", None)]
#[case::shut(
    "user default off\nuser copy on >c +psync\nmasteruser copy\nmasterauth c",
    "copy:c",
    None
)]
#[case::by_valkeys_names("primaryuser copy\nprimaryauth c\nrequirepass a", ":a copy:c", Some("a"))]
fn the_way_in_is_the_servers(
    #[case] lines: &str,
    #[case] expected: &str,
    #[case] password: Option<&str>,
) {
    let config = read(&[], lines).unwrap();
    assert_eq!(logins(&config), expected);
    assert_eq!(config.password, password.map(|p| Secret(p.to_owned())));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn without_a_password_in_clear_text_there_is_a_warning() {
    let hash = "0".repeat(64);
    let config = read(&[], &format!("user default on #{hash} +@all\n")).unwrap();
    assert!(config.credentials.is_empty());
    assert!(config.warnings[0].starts_with("no password is written out"), "{:?}", config.warnings);
}

#[test]
fn a_file_of_users_counts_from_the_final_directory_and_beats_the_password() {
    let main = "aclfile users.acl\nrequirepass a\ndir /data\n";
    let of = |users: &'static str, more: &str| {
        let main = format!("{main}{more}");
        let files = [("/etc/own.conf", main.as_str()), ("/data/users.acl", users)];
        read_in("/", &["redis-server", "/etc/own.conf"], &files).unwrap()
    };
    let config = of("user default on >b ~* +@all\n", "");
    assert_eq!((logins(&config).as_str(), config.warnings.len()), (":b", 0));

    let open = of("", "");
    assert_eq!((open.password, open.credentials.len()), (None, 0));
    assert_eq!(
        open.warnings,
        ["requirepass has no effect, and the server is open to anybody: the ACL file \
          /data/users.acl replaces it, and gives the user `default` no password"]
    );

    let both = of("", "user default on >c +@all\n").warnings;
    assert!(both[0].contains("at which the server stops"), "{both:?}");

    let files = [("/etc/own.conf", main)];
    let missing = read_in("/", &["redis-server", "/etc/own.conf"], &files).unwrap();
    assert_eq!(logins(&missing), ":a");
    assert!(missing.warnings[0].contains("/data/users.acl can not be read"));
}

#[test]
fn each_warning_is_given_once() {
    let users = "user clerk on >word +@all\n".repeat(3);
    let config = read(&[], &users).unwrap();
    let warnings = config.warnings_for(Target::Unknown);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("`clerk` is defined twice"));
}
