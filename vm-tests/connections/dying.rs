//! Whenever an agent dies and whatever goes away under it, traffic goes on and what is left can be taken away.
