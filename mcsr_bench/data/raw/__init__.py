"""Raw files that several datasets share a format of: HDF5 k-space with an ISMRMRD header, NIfTI volumes, patients, lengths."""
