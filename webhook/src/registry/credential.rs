//! Who asks: a pod by its projected token, or its hooks by a token that the registry made.
//!
//! Guarantees: a pod's identity comes from the API server's TokenReview for our audience, never
//! from the token's own text; a hook token is bound to one uid of one pod and can not be made
//! without the authority's key, and neither can a cluster's replication secret; results are remembered for seconds only, by the token's digest.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cluster::protocol::AUDIENCE;
use cluster::secret::ReplicationSecret;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::PostParams;
use kube::{Api, Client};
use ring::{digest, hmac};
use serde_json::Value;

use super::Fault;

/// A pod that has shown who it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Who {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) uid: String,
}

/// Asks the API server who a token's bearer is.
pub(super) struct Reviewer {
    client: Client,
    known: Mutex<HashMap<[u8; 32], (Who, Instant)>>,
}

/// The key of hook tokens: the same on all replicas, since it is derived from the authority's.
#[derive(Clone)]
pub struct HookKey(hmac::Key);

// === impl Who ===

impl Who {
    /// Who a projected token claims to be, unverified: good enough to fetch in advance what will
    /// be needed if it is true, and for nothing else.
    pub(super) fn claimed(token: &str) -> Option<Self> {
        let payload = token.split('.').nth(1)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let claims: Value = serde_json::from_slice(&payload).ok()?;
        let claims = &claims["kubernetes.io"];
        let text = |v: &Value| v.as_str().filter(|t| is_name(t)).map(str::to_owned);
        Some(Self {
            namespace: text(&claims["namespace"])?,
            pod: text(&claims["pod"]["name"])?,
            uid: text(&claims["pod"]["uid"])?,
        })
    }

    /// The StatefulSet's name by the pod's: `cache-3` belongs to `cache`, if to any.
    pub(super) fn set(&self) -> Result<&str, Fault> {
        let parts = self.pod.rsplit_once('-').filter(|(set, _)| !set.is_empty());
        parts.map(|(set, _)| set).ok_or_else(|| {
            Fault::Refused(format!("pod {} is not a member of a StatefulSet by its name", self.pod))
        })
    }

    fn reviewed(status: &TokenReviewStatus) -> Result<Self, Fault> {
        let refuse =
            |why: &str| Err(Fault::Credential(format!("the token is not accepted: {why}")));
        if status.authenticated != Some(true) {
            return refuse(status.error.as_deref().unwrap_or("it is not valid"));
        }
        // A server that does not know audiences would leave them out.
        if !status.audiences.iter().flatten().any(|a| a == AUDIENCE) {
            return refuse("its audience is not mooring.dev");
        }
        let Some(user) = &status.user else { return refuse("it belongs to no user") };
        let username = user.username.as_deref().unwrap_or_default();
        let namespace = username
            .strip_prefix("system:serviceaccount:")
            .and_then(|rest| rest.split_once(':'))
            .map(|(namespace, _)| namespace.to_owned());
        let extra = |key: &str| {
            let values =
                user.extra.as_ref()?.get(&format!("authentication.kubernetes.io/{key}"))?;
            values.first().cloned()
        };
        match (namespace, extra("pod-name"), extra("pod-uid")) {
            (Some(namespace), Some(pod), Some(uid)) => Ok(Self { namespace, pod, uid }),
            _ => refuse("it is not bound to a pod"),
        }
    }
}

// === impl Reviewer ===

impl Reviewer {
    pub(super) fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// Whose token it is, by the API server.
    pub(super) async fn review(&self, token: &str) -> Result<Who, Fault> {
        let key = digest_of(token);
        if let Some(who) = self.remembered(&key) {
            return Ok(who);
        }
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: Some(vec![AUDIENCE.to_owned()]),
            },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await?;
        let who = Who::reviewed(&answer.status.unwrap_or_default())?;
        if let Ok(mut known) = self.known.lock() {
            let now = Instant::now();
            known.retain(|_, (_, until)| *until > now);
            if known.len() < REMEMBERED_AT_MOST {
                known.insert(key, (who.clone(), now + REMEMBERED_FOR));
            }
        }
        Ok(who)
    }

    fn remembered(&self, key: &[u8; 32]) -> Option<Who> {
        let known = self.known.lock().ok()?;
        let (who, until) = known.get(key)?;
        (*until > Instant::now()).then(|| who.clone())
    }
}

// === impl HookKey ===

impl HookKey {
    /// The key that goes with an authority.
    pub fn of(authority: &certs_gen::Authority) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, authority.key_der());
        let derived = hmac::sign(&root, b"mooring hook token");
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// The token of a pod's hooks: `<namespace>/<pod>/<uid>/<hex>`.
    pub(super) fn token(&self, who: &Who) -> String {
        let text = format!("{}/{}/{}", who.namespace, who.pod, who.uid);
        let tag = hmac::sign(&self.0, text.as_bytes());
        format!("{text}/{}", hex(&tag))
    }

    /// The replication secret of a record: the same for all its members and on all replicas of
    /// the registry, as long as the key and the record's salt are. By a key of its own, so that it
    /// is no token, and with separators that no name contains.
    pub(super) fn replication_secret(
        &self,
        namespace: &str,
        name: &str,
        salt: &str,
    ) -> Option<ReplicationSecret> {
        let derived = hmac::sign(&self.0, b"mooring replication secret");
        let key = hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref());
        let text = format!("{namespace}\n{name}\n{salt}");
        hex(&hmac::sign(&key, text.as_bytes())).parse().ok()
    }

    /// Whose token it is.
    pub(super) fn verify(&self, token: &str) -> Option<Who> {
        let (text, hex) = token.rsplit_once('/')?;
        let tag: Option<Vec<u8>> = (hex.len() == 64 && hex.is_ascii()).then(|| {
            let bytes = (0..32).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok());
            bytes.collect::<Option<Vec<u8>>>()
        })?;
        hmac::verify(&self.0, text.as_bytes(), &tag?).ok()?;
        let mut parts = text.split('/').map(str::to_owned);
        Some(Who { namespace: parts.next()?, pod: parts.next()?, uid: parts.next()? })
    }
}

impl fmt::Debug for HookKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookKey")
    }
}

fn hex(tag: &hmac::Tag) -> String {
    tag.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// Whether a text may be part of an API path.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

fn digest_of(token: &str) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, token.as_bytes());
    digest.as_ref().try_into().unwrap_or([0; 32])
}

/// A step registers, reports, and may try again: one review does for these.
const REMEMBERED_FOR: Duration = Duration::from_secs(30);
const REMEMBERED_AT_MOST: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::SystemTime;

    use k8s_openapi::api::authentication::v1::UserInfo;

    use super::*;

    fn who(pod: &str) -> Who {
        Who { namespace: "ns".into(), pod: pod.into(), uid: "u-1".into() }
    }

    #[test]
    fn a_hook_token_is_one_pods_and_one_authoritys() {
        let key = HookKey::of(&certs_gen::Authority::generate(SystemTime::now()).unwrap());
        let other = HookKey::of(&certs_gen::Authority::generate(SystemTime::now()).unwrap());
        let token = key.token(&who("c-0"));
        assert_eq!(key.verify(&token), Some(who("c-0")));
        assert_eq!(other.verify(&token), None);
        assert_eq!(key.verify(&token.replace("c-0", "c-1")), None);
        for bad in ["", "/", "a/b/c", "a/b/c/d", &"é".repeat(32), &format!("x{token}")] {
            assert_eq!(key.verify(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_replication_secret_is_one_records_and_one_authoritys() {
        let authority = certs_gen::Authority::generate(SystemTime::now()).unwrap();
        let again = certs_gen::Authority::from_pem(authority.cert_pem(), &authority.key_pem());
        let (key, again) = (HookKey::of(&authority), HookKey::of(&again.unwrap()));
        let other = HookKey::of(&certs_gen::Authority::generate(SystemTime::now()).unwrap());
        let secret = key.replication_secret("ns", "cache", "salt").unwrap();
        assert_eq!(again.replication_secret("ns", "cache", "salt"), Some(secret.clone()));
        for strange in [
            other.replication_secret("ns", "cache", "salt"),
            key.replication_secret("ns2", "cache", "salt"),
            key.replication_secret("ns", "cache2", "salt"),
            key.replication_secret("ns", "cache", "salt2"),
            key.replication_secret("n", "scache", "salt"),
        ] {
            assert_ne!(strange.unwrap(), secret);
        }
        // What a member holds opens nothing at the registry.
        let shown = secret.expose();
        assert_eq!(key.verify(&format!("ns\ncache\nsalt/{shown}")), None);
        assert!(!format!("{secret:?} {key:?}").contains(shown));
    }

    #[test]
    fn a_claim_is_read_but_never_a_path() {
        let token = |claims: &str| format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims));
        let claims =
            r#"{"kubernetes.io":{"namespace":"ns","pod":{"name":"c-0","uid":"u-1"}},"x":1}"#;
        assert_eq!(Who::claimed(&token(claims)), Some(who("c-0")));
        assert_eq!(Who::claimed(&token(&claims.replace("c-0", "../c"))), None);
        assert_eq!(Who::claimed("nonsense"), None);
    }

    #[test]
    fn only_a_review_for_our_audience_and_a_pod_counts() {
        let extra = BTreeMap::from([
            ("authentication.kubernetes.io/pod-name".to_owned(), vec!["c-0".to_owned()]),
            ("authentication.kubernetes.io/pod-uid".to_owned(), vec!["u-1".to_owned()]),
        ]);
        let good = TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(vec![AUDIENCE.to_owned()]),
            error: None,
            user: Some(UserInfo {
                username: Some("system:serviceaccount:ns:default".to_owned()),
                extra: Some(extra),
                ..UserInfo::default()
            }),
        };
        assert_eq!(Who::reviewed(&good).unwrap(), who("c-0"));
        let other = Some(vec!["https://kubernetes.default.svc".to_owned()]);
        assert!(Who::reviewed(&TokenReviewStatus { audiences: other, ..good.clone() }).is_err());
        let no = TokenReviewStatus { authenticated: Some(false), ..good.clone() };
        assert!(Who::reviewed(&no).is_err());
        let mut unbound = good;
        if let Some(user) = &mut unbound.user {
            user.extra = None;
        }
        assert!(Who::reviewed(&unbound).is_err());
    }
}
