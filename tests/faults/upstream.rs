//! Faults 29 to 31 and 33 to 42: the server and the Router.
