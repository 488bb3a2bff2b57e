//! The Database machine: transactions, accounts, namespaces, key and value
