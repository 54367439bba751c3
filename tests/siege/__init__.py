"""The endpoint under siege: `make siege` attacks it in every way that is known, without Copernica's key."""
