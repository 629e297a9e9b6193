//! Extended attributes as records of an archive, the way GNU tar, Go and Docker write them.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::{fgetxattr, flistxattr};
use rustix::io::Errno;

/// As much as the kernel lists, and as long as it lets a value be.
const MOST: usize = 64 * 1024;
/// Those that mean the same elsewhere: what users wrote, and what a program may do. The others belong to this machine's
/// file systems and policies.
const KEPT: [&[u8]; 2] = [b"user.", b"security.capability"];

/// The records of a file or directory, sorted; nothing if it has none or its file system knows of none.
pub(crate) fn records(file: impl AsFd) -> rustix::io::Result<Vec<u8>> {
    let file = file.as_fd();
    let mut list = vec![0; MOST];
    let length = match flistxattr(file, &mut list[..]) {
        Err(Errno::NOTSUP) => 0,
        length => length?,
    };
    let mut names: Vec<&CStr> = list[..length]
        .split_inclusive(|byte| *byte == 0)
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
        .collect();
    names.retain(|name| KEPT.iter().any(|kept| name.to_bytes().starts_with(kept)));
    names.sort_unstable();
    let mut records = Vec::new();
    let mut value = vec![0; MOST];
    for name in names {
        let length = match fgetxattr(file, name, &mut value[..]) {
            // Taken away meanwhile.
            Err(Errno::NODATA) => continue,
            length => length?,
        };
        record(&mut records, &[b"SCHILY.xattr.", name.to_bytes()].concat(), &value[..length]);
    }
    Ok(records)
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    out.extend(length.to_string().bytes().chain([b' ']));
    out.extend([key, b"=", value, b"\n"].concat());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for value in [0, 1, 80, 87, 88, 89, 90, 980, 985, 986, 987, 988, 9_985, 65_000] {
            let mut out = Vec::new();
            record(&mut out, b"key", &vec![b'x'; value]);
            let said = String::from_utf8_lossy(&out).split(' ').next().and_then(|said| said.parse().ok());
            assert_eq!(said, Some(out.len()), "a value of {value} bytes");
        }
    }
}
