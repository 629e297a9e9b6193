//! Files and directories of a sandbox.

use std::future::Future;

use super::Sandbox;
use crate::connection::REQUEST;
use crate::{ArchiveReader, Client, Error, FileReader, WriteOptions, Writer, engine};

impl Sandbox {
    /// The content of a file; starts the sandbox if need be. One that is too large for memory is for
    /// [`Sandbox::read_file_stream`].
    ///
    /// ```no_run
    /// # async fn example(sandbox: ebbtide::Sandbox) -> Result<(), ebbtide::Error> {
    /// sandbox.write_file("/work/input.txt", "2 + 2").await?;
    /// assert_eq!(sandbox.read_file("/work/input.txt").await?, b"2 + 2");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Of the kind [`File`](crate::ErrorKind::File) when the path leads to no file that can be read, or as
    /// [`Sandbox::wait`], or when it takes longer than 300 s.
    pub async fn read_file(&self, path: impl Into<String>) -> Result<Vec<u8>, Error> {
        let path = path.into();
        let read = move |client: Client, id: String| async move { client.read_file(&id, &path).await };
        self.bounded(read).await
    }

    /// Replaces the content of a file at once, or makes the file and the directories on the way to it; starts the
    /// sandbox if need be.
    ///
    /// # Errors
    /// Of the kind [`File`](crate::ErrorKind::File) when no file can be written at the path, or as
    /// [`Sandbox::wait`], or when it takes longer than 300 s. The old file is then still there.
    pub async fn write_file(
        &self,
        path: impl Into<String>,
        content: impl Into<Vec<u8>>,
    ) -> Result<(), Error> {
        let (path, content) = (path.into(), content.into());
        let write =
            move |client: Client, id: String| async move { client.write_file(&id, &path, &content).await };
        self.bounded(write).await
    }

    /// Opens a file for reading in pieces.
    ///
    /// ```no_run
    /// # async fn example(sandbox: ebbtide::Sandbox) -> Result<(), ebbtide::Error> {
    /// let mut file = sandbox.read_file_stream("/var/tmp/large").await?;
    /// let mut read = 0;
    /// while let Some(piece) = file.next().await? {
    ///     read += piece.len() as u64;
    /// }
    /// assert_eq!(read, file.size);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Sandbox::read_file`].
    pub async fn read_file_stream(&self, path: impl Into<String>) -> Result<FileReader, Error> {
        let path = path.into();
        let open = move |client: Client, id: String| async move { client.read_file_stream(&id, &path).await };
        self.bounded(open).await
    }

    /// Begins to write a file in pieces. It is there once [`Writer::commit`] has returned.
    ///
    /// ```no_run
    /// # async fn example(sandbox: ebbtide::Sandbox) -> Result<(), ebbtide::Error> {
    /// use ebbtide::WriteOptions;
    ///
    /// let options = WriteOptions { mode: Some(0o755), ..WriteOptions::default() };
    /// let mut file = sandbox.write_file_stream("/usr/local/bin/tool", options).await?;
    /// file.write("#!/bin/sh\n").await?;
    /// file.write("echo hello\n").await?;
    /// file.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Sandbox::wait`]. Whether it can be written is told by the first write that has to wait, or by the commit.
    pub async fn write_file_stream(
        &self,
        path: impl Into<String>,
        options: WriteOptions,
    ) -> Result<Writer, Error> {
        let path = path.into();
        let open = move |client: Client, id: String| async move {
            client.write_file_stream(&id, &path, options).await
        };
        self.bounded(open).await
    }

    /// A directory as a tar stream, its entries named by their path below it.
    ///
    /// # Errors
    /// As [`Sandbox::read_file`].
    pub async fn pack(&self, path: impl Into<String>) -> Result<ArchiveReader, Error> {
        let path = path.into();
        self.bounded(move |client: Client, id: String| async move { client.pack(&id, &path).await }).await
    }

    /// Begins to unpack a tar stream into a directory, which is made if it is not there.
    ///
    /// # Errors
    /// As [`Sandbox::write_file_stream`].
    pub async fn unpack(&self, path: impl Into<String>) -> Result<Writer, Error> {
        let path = path.into();
        self.bounded(move |client: Client, id: String| async move { client.unpack(&id, &path).await }).await
    }

    /// Makes a call about the running sandbox on the crate's own thread, where what it opens belongs. Given up if
    /// its caller gives up, or if it takes too long.
    async fn bounded<F, T>(&self, call: impl FnOnce(Client, String) -> F + Send + 'static) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>> + Send,
        T: Send + 'static,
    {
        let id = self.running().await?;
        let sandbox = self.clone();
        engine::run(async move {
            let client = sandbox.core.connection.client().await?;
            match tokio::time::timeout(REQUEST, call(client, id)).await {
                Ok(Err(error)) => Err(sandbox.explained(error).await),
                Ok(answer) => answer,
                Err(_) => Err(Error::NoAnswer { limit: REQUEST }),
            }
        })
        .await
    }
}
