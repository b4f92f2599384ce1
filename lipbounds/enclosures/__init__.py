"""Interval and Taylor arithmetic: one engine a need."""
