//! Asynchronous Byzantine agreement over a hash graph of signed vertices, sans I/O
