//! The certificate authority and the serving certificates that it signs.
//!
//! Guarantees: ECDSA P-256; every certificate is valid from a little before `now`, because clocks
//! differ; an [`Authority`] read from somewhere is one whose key fits its certificate. No clock and
//! no IO: callers pass `now` and keep what is made.

#![cfg_attr(test, allow(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use time::OffsetDateTime;
use x509_parser::pem::parse_x509_pem;

/// How long an authority is valid.
pub const AUTHORITY_VALIDITY: Duration = days(3650);
/// How long a serving certificate is valid.
pub const LEAF_VALIDITY: Duration = days(30);
/// When a serving certificate is replaced: with two thirds of its time left, so that a replica
/// that can not reach anybody for days goes on with a valid one.
pub const LEAF_RENEWAL: Duration = days(10);

/// A certificate authority: certificate and key.
pub struct Authority {
    cert_pem: String,
    key: KeyPair,
    not_after: SystemTime,
}

/// A serving certificate and its key.
pub struct Leaf {
    /// The certificate as PEM.
    pub cert_pem: String,
    /// The key as PEM (PKCS #8).
    pub key_pem: String,
    /// When it was made.
    pub made: SystemTime,
    /// Until when it is valid.
    pub not_after: SystemTime,
}

/// A certificate can not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate is not PEM of an X.509 certificate.
    #[error(
        "the authority's certificate can not be read: it has to be one X.509 certificate as PEM"
    )]
    Certificate,
    /// The certificate is not an authority's.
    #[error("the authority's certificate is not a CA's: its basicConstraints lack CA:TRUE")]
    NotAnAuthority,
    /// The key belongs to another certificate.
    #[error("the authority's key does not belong to its certificate")]
    OtherKey,
    /// The library's own.
    #[error("the certificate can not be made: {0}")]
    Rcgen(#[from] rcgen::Error),
}

// === impl Authority ===

impl Authority {
    /// Makes a new one.
    pub fn generate(now: SystemTime) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let not_after = now + AUTHORITY_VALIDITY;
        let mut params = validity(now, not_after);
        // A name of its own, so that two authorities side by side in a bundle are told apart.
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        params.distinguished_name = name(&format!("mooring-ca-{seconds}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let cert_pem = params.self_signed(&key)?.pem();
        Ok(Self { cert_pem, key, not_after })
    }

    /// Reads one from PEM.
    pub fn from_pem(cert: &str, key: &str) -> Result<Self, Error> {
        let key = KeyPair::from_pem(key)?;
        let (_, pem) = parse_x509_pem(cert.as_bytes()).map_err(|_| Error::Certificate)?;
        let parsed = pem.parse_x509().map_err(|_| Error::Certificate)?;
        if !parsed.is_ca() {
            return Err(Error::NotAnAuthority);
        }
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(Error::OtherKey);
        }
        let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
        let not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Ok(Self { cert_pem: cert.to_owned(), key, not_after })
    }

    /// Its certificate as PEM: what clients trust.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// Its key as PEM (PKCS #8).
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Its key as DER: the one secret that all replicas share, to derive others from.
    pub fn key_der(&self) -> &[u8] {
        self.key.serialized_der()
    }

    /// Until when it is valid.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Signs a new serving certificate for DNS names and IP addresses.
    pub fn issue(&self, names: &[String], now: SystemTime) -> Result<Leaf, Error> {
        let key = KeyPair::generate()?;
        let not_after = (now + LEAF_VALIDITY).min(self.not_after);
        let mut params = validity(now, not_after);
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        // A common name holds 64 characters at most, and nobody reads it.
        params.distinguished_name = name("mooring");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_pem(&self.cert_pem, &self.key)?;
        let cert_pem = params.signed_by(&key, &issuer)?.pem();
        Ok(Leaf { cert_pem, key_pem: key.serialize_pem(), made: now, not_after })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

// === impl Leaf ===

impl Leaf {
    /// Whether it is time for another one, by the wall clock: timers stand still while a machine
    /// sleeps or is moved.
    pub fn is_due(&self, now: SystemTime) -> bool {
        now >= self.made + LEAF_RENEWAL || now < self.made - SKEW
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

fn validity(now: SystemTime, not_after: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = OffsetDateTime::from(now - SKEW);
    params.not_after = OffsetDateTime::from(not_after);
    params
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "mooring.dev");
    name.push(DnType::CommonName, common);
    name
}

const fn days(n: u64) -> Duration {
    Duration::from_secs(n * 24 * 3600)
}

const SKEW: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + days(20_000)
    }

    #[test]
    fn an_authority_reads_as_it_was_written() {
        let made = Authority::generate(now()).unwrap();
        let read = Authority::from_pem(made.cert_pem(), &made.key_pem()).unwrap();
        assert_eq!(read.cert_pem(), made.cert_pem());
        assert_eq!(read.key_der(), made.key_der());
        assert_eq!(read.not_after(), made.not_after());
    }

    #[test]
    fn another_key_and_another_certificate_are_refused() {
        let one = Authority::generate(now()).unwrap();
        let other = Authority::generate(now()).unwrap();
        let leaf = one.issue(&["a".to_owned()], now()).unwrap();
        let read = |cert: &str, key: &str| Authority::from_pem(cert, key).unwrap_err();
        assert!(matches!(read(one.cert_pem(), &other.key_pem()), Error::OtherKey));
        assert!(matches!(read(&leaf.cert_pem, &leaf.key_pem), Error::NotAnAuthority));
        assert!(matches!(read("x", &one.key_pem()), Error::Certificate));
    }

    #[test]
    fn clients_accept_what_it_signs_for_names_and_addresses() {
        use rustls::client::WebPkiServerVerifier;
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

        let authority = Authority::generate(now()).unwrap();
        let names = ["mooring.mooring-system.svc".to_owned(), "10.96.0.7".to_owned()];
        let leaf = authority.issue(&names, now()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(authority.cert_pem().as_bytes()).unwrap())
            .unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
        let cert = CertificateDer::from_pem_slice(leaf.cert_pem.as_bytes()).unwrap();
        let verify = |name: &'static str, after: Duration| {
            use rustls::client::danger::ServerCertVerifier;
            let at = days(20_000) + after;
            verifier
                .verify_server_cert(
                    &cert,
                    &[],
                    &ServerName::try_from(name).unwrap(),
                    &[],
                    UnixTime::since_unix_epoch(at),
                )
                .is_ok()
        };
        assert!(verify("mooring.mooring-system.svc", Duration::ZERO));
        assert!(verify("10.96.0.7", days(29)));
        assert!(!verify("mooring.other.svc", Duration::ZERO));
        assert!(!verify("10.96.0.7", days(31)));
    }

    #[test]
    fn renewal_goes_by_the_wall_clock() {
        let leaf = Authority::generate(now()).unwrap().issue(&["a".to_owned()], now()).unwrap();
        assert!(!leaf.is_due(now()));
        assert!(!leaf.is_due(now() + days(9)));
        assert!(leaf.is_due(now() + days(10)));
        assert!(leaf.is_due(now() - days(1)), "a clock that was set back");
    }
}
