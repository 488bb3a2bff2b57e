//! Mutual TLS 1.3 in which a certificate is only a wrapper of a key.
//!
//! ```text
//!  committee ──▶ node keys ──▶ verifier: does the certificate's SPKI hold one of these?   (a stranger: no)
//!                              TLS:      did its holder sign this handshake?              (a copy: no)
//! ```
//!
//! Names, dates and issuers in certificates mean nothing here: the committee is the authority, and it lists keys.
//! Whoever dials expects the one key of the validator it dials; whoever listens takes any of the committee's but its
//! own.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};
use violeta_types::NodePublicKey;

/// What begins the SubjectPublicKeyInfo of an Ed25519 key (RFC 8410 §4); the 32 bytes of the key follow.
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Why a node key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The PEM text isn't an Ed25519 key in PKCS #8.
    #[error("not an Ed25519 key in PKCS #8 PEM form: {0}")]
    Key(String),
    /// TLS can't be set up with it.
    #[error("can't set TLS up: {0}")]
    Setup(String),
}

/// A node's TLS identity: its key, and the certificate that wraps it.
#[derive(Clone)]
pub struct NodeIdentity {
    key: Arc<KeyPair>,
    public: NodePublicKey,
}

impl std::fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeIdentity({:?})", self.public)
    }
}

impl NodeIdentity {
    /// A fresh key, drawn from the operating system.
    ///
    /// # Errors
    /// If the operating system gives no randomness.
    pub fn generate() -> Result<Self, TlsError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519)
            .map_err(|e| TlsError::Setup(e.to_string()))?;
        Self::new(key)
    }

    /// The key of a PEM text.
    ///
    /// # Errors
    /// If it isn't an Ed25519 key.
    pub fn from_pem(text: &str) -> Result<Self, TlsError> {
        let key = KeyPair::from_pem(text).map_err(|e| TlsError::Key(e.to_string()))?;
        Self::new(key)
    }

    fn new(key: KeyPair) -> Result<Self, TlsError> {
        if key.algorithm() != &rcgen::PKCS_ED25519 {
            return Err(TlsError::Key("another algorithm".into()));
        }
        let bytes = <[u8; 32]>::try_from(key.public_key_raw())
            .map_err(|_| TlsError::Key("a public key that isn't 32 bytes long".into()))?;
        Ok(NodeIdentity {
            key: Arc::new(key),
            public: NodePublicKey(bytes),
        })
    }

    /// The key's PEM text, for its file.
    pub fn to_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The public key, as it stands in the committee.
    pub fn public_key(&self) -> NodePublicKey {
        self.public
    }

    fn credentials(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let setup = |e: rcgen::Error| TlsError::Setup(e.to_string());
        let params = CertificateParams::new(vec!["violeta.invalid".to_owned()]).map_err(setup)?;
        let certificate = params.self_signed(&*self.key).map_err(setup)?;
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        Ok((vec![certificate.der().clone()], key.into()))
    }

    /// How this node listens: for whoever holds one of these keys.
    ///
    /// # Errors
    /// If TLS can't be set up.
    pub fn server_config(
        &self,
        peers: impl IntoIterator<Item = NodePublicKey>,
    ) -> Result<ServerConfig, TlsError> {
        let setup = |e: rustls::Error| TlsError::Setup(e.to_string());
        let provider = provider();
        let pinned = Arc::new(Pinned::new(peers, &provider));
        let (chain, key) = self.credentials()?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(setup)?
            .with_client_cert_verifier(pinned)
            .with_single_cert(chain, key)
            .map_err(setup)?;
        // A resumed session would stand on an older check than the committee of now.
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// How this node dials the holder of this key.
    ///
    /// # Errors
    /// If TLS can't be set up.
    pub fn client_config(&self, peer: NodePublicKey) -> Result<ClientConfig, TlsError> {
        let setup = |e: rustls::Error| TlsError::Setup(e.to_string());
        let provider = provider();
        let pinned = Arc::new(Pinned::new([peer], &provider));
        let (chain, key) = self.credentials()?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(setup)?
            .dangerous()
            .with_custom_certificate_verifier(pinned)
            .with_client_auth_cert(chain, key)
            .map_err(setup)?;
        config.enable_sni = false;
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }
}

/// The name that TLS wants for who is dialled. It means nothing: the key does.
pub fn server_name() -> ServerName<'static> {
    ServerName::IpAddress(std::net::IpAddr::from([0, 0, 0, 0]).into())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The Ed25519 key in a certificate.
///
/// # Errors
/// If it isn't a certificate, or one of another kind of key.
pub fn key_of(certificate: &CertificateDer<'_>) -> Result<NodePublicKey, rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let spki = parsed.subject_public_key_info();
    spki.as_ref()
        .strip_prefix(&SPKI_PREFIX)
        .and_then(|key| <[u8; 32]>::try_from(key).ok())
        .map(NodePublicKey)
        .ok_or_else(unknown)
}

fn unknown() -> rustls::Error {
    rustls::CertificateError::ApplicationVerificationFailure.into()
}

/// Takes certificates that hold one of these keys, and handshakes that its holder signed.
#[derive(Debug)]
struct Pinned {
    keys: Vec<NodePublicKey>,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn new(keys: impl IntoIterator<Item = NodePublicKey>, provider: &Arc<CryptoProvider>) -> Self {
        Pinned {
            keys: keys.into_iter().collect(),
            provider: provider.clone(),
        }
    }

    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        let key = key_of(certificate)?;
        match self.keys.contains(&key) {
            true => Ok(()),
            false => Err(unknown()),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn no_tls12() -> rustls::Error {
        rustls::Error::General("TLS 1.2 isn't spoken between validators".into())
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(Self::no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(Self::no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_in_the_certificate_is_the_key_in_the_committee() {
        let identity = NodeIdentity::generate().unwrap();
        let (chain, _) = identity.credentials().unwrap();
        assert_eq!(key_of(&chain[0]).unwrap(), identity.public_key());
    }

    #[test]
    fn a_key_survives_its_file() {
        let identity = NodeIdentity::generate().unwrap();
        let read = NodeIdentity::from_pem(&identity.to_pem()).unwrap();
        assert_eq!(read.public_key(), identity.public_key());
    }

    #[test]
    fn other_keys_and_other_texts_are_refused() {
        let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        assert!(NodeIdentity::from_pem(&other.serialize_pem()).is_err());
        assert!(NodeIdentity::from_pem("nothing").is_err());
        assert!(key_of(&CertificateDer::from(vec![1, 2, 3])).is_err());
    }

    #[test]
    fn only_pinned_keys_pass() {
        let [us, them] = [(); 2].map(|()| NodeIdentity::generate().unwrap());
        let pinned = Pinned::new([us.public_key()], &provider());
        assert!(pinned.check(&us.credentials().unwrap().0[0]).is_ok());
        assert!(pinned.check(&them.credentials().unwrap().0[0]).is_err());
    }
}
