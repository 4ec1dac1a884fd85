\set stream random(1, 1000)
INSERT INTO events (stream, version, type, payload) SELECT :stream, nextval('versions'), 'session-logged', repeat('x', 700) FROM generate_series(1, 1000);
