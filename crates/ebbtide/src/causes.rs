//! What is behind an error of the transport, in words that help.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, Error as TlsError};

/// What is behind an error, as words: the outermost ones of a transport say nothing.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let chain = chain(error);
    if let Some(said) = chain.iter().find_map(|cause| tls(cause.downcast_ref()?)) {
        return said.to_owned();
    }
    let mut words: Vec<String> = Vec::new();
    for cause in chain {
        let said = cause.to_string();
        if !words.contains(&said) {
            words.push(said);
        }
    }
    words.join(": ")
}

/// An error and all that are behind it. One that is wrapped by the kernel's kind of error is not its source.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> Vec<&'a (dyn Error + 'static)> {
    let mut chain = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        chain.push(cause);
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => cause.source(),
        };
    }
    chain
}

/// What the words of TLS leave to guess.
fn tls(error: &TlsError) -> Option<&'static str> {
    match error {
        TlsError::InvalidMessage(_) => Some(
            "what answers there does not speak TLS; if it is the right port, its address begins with http://",
        ),
        TlsError::AlertReceived(AlertDescription::NoApplicationProtocol)
        | TlsError::NoApplicationProtocol => {
            Some("what answers there speaks TLS but not HTTP/2; is it the right port?")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_without_tls_is_called_that_however_deep_the_error_lies() {
        let error = TlsError::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error));
        assert!(causes(&wrapped).contains("http://"), "{}", causes(&wrapped));
    }

    #[test]
    fn words_are_said_once() {
        let error = io::Error::other(io::Error::other("no route"));
        assert_eq!(causes(&error), "no route");
    }
}
