//! What the protocol has: every service and method, read from its files, so that none is forgotten.

use std::path::Path;

use prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor};

/// The end of everything, which is no case.
const SPARED: &str = "ebbtide.v1.EbbtideService.Shutdown";

pub(crate) struct Schema {
    pub(crate) methods: Vec<MethodDescriptor>,
    pool: DescriptorPool,
}

impl Schema {
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ebbtide-proto/proto");
        let mut files = Vec::new();
        for package in ["coreweave/sandbox/v1", "ebbtide/v1"] {
            for entry in std::fs::read_dir(root.join(package)).expect("the protocol's files").flatten() {
                files.push(Path::new(package).join(entry.file_name()));
            }
        }
        let mut compiler = protox::Compiler::new([root]).unwrap();
        let pool = compiler.open_files(files).unwrap().descriptor_pool();
        let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        let methods = methods.filter(|method| method.full_name() != SPARED).collect();
        Self { methods, pool }
    }

    /// A message of the public protocol by its name.
    pub(crate) fn message(&self, name: &str) -> MessageDescriptor {
        let full = format!("coreweave.sandbox.v1.{name}");
        self.pool.get_message_by_name(&full).unwrap_or_else(|| panic!("no message {full}"))
    }
}

/// The path of a method's calls.
pub(crate) fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}
