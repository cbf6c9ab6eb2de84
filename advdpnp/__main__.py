"""python -m advdpnp"""
