\set stream random(1, 1000)
INSERT INTO events (stream, version, type, payload) VALUES (:stream, nextval('versions'), 'session-logged', repeat('x', 700));
