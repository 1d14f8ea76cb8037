"""The only service that speaks MQTT: it receives what devices publish and delivers what services say."""
