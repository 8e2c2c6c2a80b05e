"""What tests share: stand-ins, servers, sample files."""
