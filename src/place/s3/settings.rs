//! From the settings of S3 to a bucket's endpoint, its region and who signs.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use ::url::Url;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey as Key};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::{ClientOptions, RetryConfig};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::sums::Payload;
use crate::error::{Error, Result};
use crate::place::credentials::Secret;
use crate::place::url::shown;

/// How the SDKs of AWS switch checksums off that a store may not know.
const CHECKSUMS_WANTED: &str = "aws_request_checksum_calculation";
/// Longest wait for an answer of this machine's own cloud, which may not be there.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time in which keys are asked for again.
const KEYS_TIMEOUT: Duration = Duration::from_secs(30);

/// How a bucket is reached.
pub(super) struct Settings {
    /// Knows the keys, and renews them where they end.
    pub(super) store: AmazonS3,
    /// URL of the bucket, without `/` at its end.
    pub(super) endpoint: String,
    pub(super) region: String,
    /// Requests are signed.
    pub(super) is_signed: bool,
    pub(super) payload: Payload,
    /// The store is to keep CRC-64/NVME of objects.
    pub(super) has_checksums: bool,
    /// Who asks, not who owns the bucket, pays.
    pub(super) is_requester_payer: bool,
    /// What is asked for with each new object: how it is to be encrypted.
    pub(super) put_headers: HeaderMap,
}

impl Settings {
    /// Reads settings by the names that `object_store` knows them by; later ones count more.
    ///
    /// # Errors
    /// One is unknown or means nothing here, is not what was expected, or others are missing.
    pub(super) fn read(
        bucket: &str,
        settings: &[(String, Secret)],
        client: reqwest::Client,
    ) -> Result<Self> {
        let mut given = Given::default();
        for (name, value) in settings {
            given.take(name, value.reveal().trim())?;
        }
        let region = given.region()?;
        let endpoint = given.endpoint(bucket, &region)?;
        let payload = given.payload(&endpoint)?;
        let has_checksums = given.has_checksums()?;
        let is_signed = !given.is_set(Key::SkipSignature)?;
        let is_requester_payer = match given.text(Key::RequestPayer) {
            Some(text) if text.eq_ignore_ascii_case("requester") => true,
            _ => given.is_set(Key::RequestPayer)?,
        };
        let put_headers = given.put_headers()?;
        let store = given.store(bucket, &endpoint, &region, client)?;
        Ok(Self {
            store,
            endpoint,
            region,
            is_signed,
            payload,
            has_checksums,
            is_requester_payer,
            put_headers,
        })
    }
}

#[derive(Default)]
struct Given {
    values: HashMap<Key, String>,
    checksums_wanted: Option<String>,
}

impl Given {
    fn take(&mut self, name: &str, value: &str) -> Result<()> {
        let is_plain = |byte: u8| (b' '..=b'~').contains(&byte);
        if !value.bytes().all(is_plain) {
            return Err(Error::usage(format!(
                "the S3 setting {name} holds a line end or another character that no request can"
            )));
        }
        if value.is_empty() {
            return Ok(());
        }
        if name == CHECKSUMS_WANTED {
            self.checksums_wanted = Some(value.to_owned());
            return Ok(());
        }
        let unknown = || {
            Error::usage(format!("{name} is not an S3 setting that is known"))
                .hint("expected names such as aws_access_key_id, aws_region, aws_endpoint_url")
        };
        let key: Key = name.parse().map_err(|_| unknown())?;
        match key {
            Key::AccessKeyId
            | Key::SecretAccessKey
            | Key::Token
            | Key::Region
            | Key::DefaultRegion
            | Key::Endpoint
            | Key::S3Endpoint
            | Key::VirtualHostedStyleRequest
            | Key::ImdsV1Fallback
            | Key::MetadataEndpoint
            | Key::ContainerCredentialsRelativeUri
            | Key::ContainerCredentialsFullUri
            | Key::ContainerAuthorizationTokenFile
            | Key::WebIdentityTokenFile
            | Key::RoleArn
            | Key::RoleSessionName
            | Key::StsEndpoint
            | Key::SkipSignature
            | Key::RequestPayer
            | Key::UnsignedPayload
            | Key::Checksum => {}
            Key::Encryption(_) if put_header(key).is_some() => {}
            _ => {
                return Err(Error::usage(format!(
                    "the S3 setting {name} means nothing here"
                )));
            }
        }
        self.values.insert(key, value.to_owned());
        Ok(())
    }

    fn text(&self, key: Key) -> Option<&str> {
        self.values.get(&key).map(String::as_str)
    }

    fn is_set(&self, key: Key) -> Result<bool> {
        let Some(text) = self.text(key) else {
            return Ok(false);
        };
        match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "on" | "yes" | "y" => Ok(true),
            "0" | "false" | "off" | "no" | "n" => Ok(false),
            _ => Err(Error::usage(format!(
                "the S3 setting {} is '{text}', expected true or false",
                key.as_ref()
            ))),
        }
    }

    fn region(&self) -> Result<String> {
        let region = self.text(Key::Region).or(self.text(Key::DefaultRegion));
        let region = region.unwrap_or("us-east-1");
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if region.bytes().all(is_known) {
            return Ok(region.to_owned());
        }
        Err(Error::usage(format!(
            "the S3 region '{region}' has odd characters, expected one such as us-east-1"
        )))
    }

    /// Returns the URL of the bucket. Its name goes into the path, which all stores know, unless
    /// it is asked for in the name of the host.
    fn endpoint(&self, bucket: &str, region: &str) -> Result<String> {
        let is_virtual = self.is_set(Key::VirtualHostedStyleRequest)?;
        let Some(given) = self.text(Key::S3Endpoint).or(self.text(Key::Endpoint)) else {
            return Ok(if is_virtual {
                format!("https://{bucket}.s3.{region}.amazonaws.com")
            } else {
                format!("https://s3.{region}.amazonaws.com/{bucket}")
            });
        };
        let odd = |reason: &str| {
            Error::usage(format!("the S3 endpoint '{}' {reason}", shown(given)))
                .hint("expected a URL such as https://s3.example.org")
        };
        let mut url = Url::parse(given).map_err(|_| odd("is not a URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(odd("is neither http nor https"));
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(odd("holds more than a server and a path"));
        }
        if is_virtual {
            let host = url.host_str().unwrap_or_default();
            let prefix = format!("{bucket}.");
            if !host.starts_with(&prefix) {
                let host = format!("{prefix}{host}");
                url.set_host(Some(&host))
                    .map_err(|_| odd("can't be preceded by the bucket"))?;
            }
            return Ok(url.as_str().trim_end_matches('/').to_owned());
        }
        Ok(format!("{}/{bucket}", url.as_str().trim_end_matches('/')))
    }

    fn payload(&self, endpoint: &str) -> Result<Payload> {
        let is_safe = endpoint.starts_with("https://");
        if self.text(Key::UnsignedPayload).is_none() {
            return Ok(if is_safe {
                Payload::Unsigned
            } else {
                Payload::Signed
            });
        }
        match (self.is_set(Key::UnsignedPayload)?, is_safe) {
            (false, _) => Ok(Payload::Signed),
            (true, true) => Ok(Payload::Unsigned),
            (true, false) => Err(Error::usage(
                "aws_unsigned_payload is set, but the S3 endpoint is plain http",
            )
            .hint("use https, or let payloads be signed")),
        }
    }

    fn has_checksums(&self) -> Result<bool> {
        match self.text(Key::Checksum) {
            None => {}
            Some(text) if text.eq_ignore_ascii_case("crc64nvme") => return Ok(true),
            Some(text) if text.eq_ignore_ascii_case("none") => return Ok(false),
            Some(text) => {
                return Err(Error::usage(format!(
                    "the S3 setting aws_checksum_algorithm is '{text}', expected crc64nvme or none"
                )));
            }
        }
        let wanted = self.checksums_wanted.as_deref().unwrap_or("when_supported");
        Ok(!wanted.eq_ignore_ascii_case("when_required"))
    }

    fn put_headers(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (key, value) in &self.values {
            let Some(name) = put_header(*key) else {
                continue;
            };
            let value = HeaderValue::from_str(value)
                .map_err(|_| Error::usage(format!("the S3 setting {} is odd", key.as_ref())))?;
            headers.insert(name, value);
        }
        Ok(headers)
    }

    fn store(
        self,
        bucket: &str,
        endpoint: &str,
        region: &str,
        client: reqwest::Client,
    ) -> Result<AmazonS3> {
        if let Some(sts) = self.text(Key::StsEndpoint)
            && !sts.starts_with("https://")
        {
            return Err(Error::usage(
                "aws_endpoint_url_sts is not https; tokens go there",
            ));
        }
        let retry = RetryConfig {
            max_retries: 3,
            retry_timeout: KEYS_TIMEOUT,
            ..RetryConfig::default()
        };
        // For object_store an endpoint of the "virtual hosted" kind is the bucket's URL as it is.
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_http_connector(Connector { client })
            .with_retry(retry);
        let is_own = |key: &Key| {
            let of_url = matches!(
                key,
                Key::Endpoint | Key::S3Endpoint | Key::VirtualHostedStyleRequest
            );
            let of_region = matches!(key, Key::Region | Key::DefaultRegion);
            of_url || of_region || *key == Key::Checksum || put_header(*key).is_some()
        };
        for (key, value) in self.values.into_iter().filter(|(key, _)| !is_own(key)) {
            builder = builder.with_config(key, value);
        }
        builder
            .with_region(region)
            .with_endpoint(endpoint)
            .with_virtual_hosted_style_request(true)
            .build()
            .map_err(|error| {
                Error::usage(format!("the S3 settings can't be used: {error}"))
                    .hint("check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; both are needed")
            })
    }
}

/// Returns the header of new objects that a setting is for.
fn put_header(key: Key) -> Option<HeaderName> {
    let name = match key.as_ref() {
        "aws_server_side_encryption" => "x-amz-server-side-encryption",
        "aws_sse_kms_key_id" => "x-amz-server-side-encryption-aws-kms-key-id",
        "aws_sse_bucket_key_enabled" => "x-amz-server-side-encryption-bucket-key-enabled",
        _ => return None,
    };
    Some(HeaderName::from_static(name))
}

/// Lets keys be asked for over the connections, and with the certificates, of everything else.
#[derive(Debug)]
struct Connector {
    client: reqwest::Client,
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(KeyService {
            client: self.client.clone(),
        }))
    }
}

#[derive(Debug)]
struct KeyService {
    client: reqwest::Client,
}

impl HttpService for KeyService {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let host = request.uri().host().unwrap_or_default();
        let is_metadata = host.starts_with("169.254.") || host.starts_with("[fd00:");
        Box::pin(async move {
            let answer = self.client.call(request);
            if !is_metadata {
                return answer.await;
            }
            // Outside of a cloud nobody is there, and nobody says so.
            match tokio::time::timeout(METADATA_TIMEOUT, answer).await {
                Ok(answer) => answer,
                Err(late) => Err(HttpError::new(HttpErrorKind::Timeout, late)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<Settings> {
        let settings: Vec<_> = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Secret::new(*value)))
            .collect();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls);
        Settings::read("b", &settings, client.build().unwrap())
    }

    const KEYS: [(&str, &str); 2] = [("aws_access_key_id", "k"), ("aws_secret_access_key", "s")];

    #[test]
    fn endpoints_follow_from_settings() {
        let virtual_host = ("aws_virtual_hosted_style_request", "true");
        for (settings, endpoint) in [
            (vec![], "https://s3.us-east-1.amazonaws.com/b"),
            (
                vec![("aws_default_region", "x"), ("aws_region", "eu-1")],
                "https://s3.eu-1.amazonaws.com/b",
            ),
            (vec![virtual_host], "https://b.s3.us-east-1.amazonaws.com"),
            (
                vec![("aws_endpoint_url", "http://h:9/p/")],
                "http://h:9/p/b",
            ),
            (
                vec![
                    ("aws_endpoint_url_s3", "https://s"),
                    ("aws_endpoint_url", "https://e"),
                    virtual_host,
                ],
                "https://b.s",
            ),
            (
                vec![("aws_endpoint_url", "https://b.e"), virtual_host],
                "https://b.e",
            ),
            (
                vec![("aws_endpoint", "http://h"), ("aws_endpoint", "")],
                "http://h/b",
            ),
        ] {
            let settings: Vec<_> = KEYS.into_iter().chain(settings).collect();
            let found = read(&settings).unwrap();
            assert_eq!(found.endpoint, endpoint);
            let is_safe = endpoint.starts_with("https");
            assert_eq!(found.payload == Payload::Unsigned, is_safe, "{endpoint}");
        }
    }

    #[test]
    fn odd_settings_are_refused_and_not_shown() {
        for (name, value, said) in [
            ("aws_frobnicate", "SECRET", "aws_frobnicate"),
            ("aws_s3_express", "true", "means nothing"),
            ("aws_sse_customer_key_base64", "SECRET", "means nothing"),
            ("aws_secret_access_key", "SECRET\n1", "line end"),
            ("aws_endpoint_url", "ftp://h", "neither"),
            ("aws_endpoint_url", "https://u:SECRET@h", "more than"),
            ("aws_region", "a/b", "odd characters"),
            ("aws_unsigned_payload", "maybe", "true or false"),
            ("aws_checksum_algorithm", "sha1", "crc64nvme"),
            ("aws_endpoint_url_sts", "http://h", "not https"),
        ] {
            let settings: Vec<_> = KEYS.into_iter().chain([(name, value)]).collect();
            let error = read(&settings).err().unwrap();
            let text = format!("{error} {error:?}");
            assert!(text.contains(said) && !text.contains("SECRET"), "{text}");
        }
        let half = read(&KEYS[..1]).err().unwrap().to_string();
        assert!(half.contains("SecretAccessKey"), "{half}");
        let plain = [
            ("aws_endpoint_url", "http://h"),
            ("aws_unsigned_payload", "true"),
        ];
        let settings: Vec<_> = KEYS.into_iter().chain(plain).collect();
        assert!(read(&settings).is_err());
    }

    #[test]
    fn checksums_and_encryption_are_asked_for() {
        let off = (CHECKSUMS_WANTED, "when_required");
        for (settings, is_on) in [
            (vec![], true),
            (vec![off], false),
            (vec![off, ("aws_checksum_algorithm", "CRC64NVME")], true),
            (vec![("aws_checksum_algorithm", "none")], false),
        ] {
            let settings: Vec<_> = KEYS.into_iter().chain(settings).collect();
            assert_eq!(read(&settings).unwrap().has_checksums, is_on);
        }
        let encrypted = [
            ("aws_server_side_encryption", "aws:kms"),
            ("aws_sse_kms_key_id", "arn:x"),
        ];
        let settings: Vec<_> = KEYS.into_iter().chain(encrypted).collect();
        let found = read(&settings).unwrap();
        assert_eq!(found.put_headers.len(), 2);
        assert_eq!(found.put_headers["x-amz-server-side-encryption"], "aws:kms");
        assert!(!read(&[("skip_signature", "1")]).unwrap().is_signed);
    }
}
