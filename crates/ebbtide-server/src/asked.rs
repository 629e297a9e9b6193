//! Who asks for an end, and for what, from what a request came with.

use ebbtide_control::{Asked, Control, Occasion};
use ebbtide_model::{Invalid, STOP_FOR_FAILURE, STOP_FOR_HEADER, STOP_FOR_SCOPE, STOP_FOR_SESSION};
use tonic::{Request, Status};

use crate::caller::Caller;
use crate::{errors, lease};

/// Reads the headers of a request that ends sandboxes.
///
/// A token that proves nothing is passed over here: whoever may end a sandbox may do so without one.
///
/// # Errors
/// When the occasion is not known: taken for another one, it could end what was to be kept.
pub(crate) fn of<T>(control: &Control, caller: &Caller, request: &Request<T>) -> Result<Asked, Status> {
    let occasion = match request.metadata().get(STOP_FOR_HEADER).map(|value| value.to_str()) {
        None => Occasion::Explicit,
        Some(Ok(STOP_FOR_SESSION)) => Occasion::Session,
        Some(Ok(STOP_FOR_SCOPE)) => Occasion::Scope,
        Some(Ok(STOP_FOR_FAILURE)) => Occasion::Failure,
        Some(other) => {
            let problem = format!("{:?} is no occasion", other.unwrap_or_default());
            let accepted = format!("{STOP_FOR_SESSION}, {STOP_FOR_SCOPE}, {STOP_FOR_FAILURE}, or none");
            return Err(errors::invalid(Invalid::new(STOP_FOR_HEADER, problem, accepted)));
        }
    };
    Ok(Asked { by: by(control, caller, request), occasion })
}

/// Words for who it is: whose lease the request came with, or whose connection.
fn by<T>(control: &Control, caller: &Caller, request: &Request<T>) -> Option<String> {
    let holder = lease::token(request).and_then(|token| control.holder(&caller.principal, &token));
    holder.map(|holder| holder.to_string()).or_else(|| {
        let pid = caller.process?.pid;
        // Only a name: it may be gone by now, or somebody else's.
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        Some(match name.trim() {
            "" => format!("process {pid}"),
            name => format!("process {pid} ({name})"),
        })
    })
}
