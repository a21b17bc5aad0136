"""Cameras, lighting, rasterization, texture maps and the renderer."""
