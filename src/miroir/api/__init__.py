"""The HTTP edge of the orchestrator: decode, call one service method, encode."""
