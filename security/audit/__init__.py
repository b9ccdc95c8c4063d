"""The audit trail: what was judged, decided and changed, by whom, in a chain that shows every later touch."""
