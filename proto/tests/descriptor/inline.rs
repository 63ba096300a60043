//! Protobuf files written down in a test.

use prost_reflect::DescriptorPool;
use protox::Compiler;
use protox::Error;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

struct Inline(Vec<(String, String)>);

impl FileResolver for Inline {
    fn open_file(&self, name: &str) -> Result<File, Error> {
        let source = self.0.iter().find(|(path, _)| path == name).map(|(_, source)| source);
        File::from_source(name, source.ok_or_else(|| Error::file_not_found(name))?)
    }
}

/// Compiles files: each a path and its source.
pub(crate) fn compile(files: &[(&str, &str)]) -> Result<DescriptorPool, Error> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Inline(files.iter().map(|(path, source)| ((*path).to_owned(), (*source).to_owned())).collect()));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(files.iter().map(|(path, _)| path))?;
    Ok(compiler.descriptor_pool())
}
