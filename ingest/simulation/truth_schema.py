"""The tables in which a truth is kept, and what their triggers keep true."""

#: The tables. Profiles of which nothing but a message is known are in database 7, the simulator's.
SCHEMA = """
CREATE TABLE IF NOT EXISTS mailings (
  product TEXT, id INTEGER, second INTEGER, destinations INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (product, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS destinations (
  product TEXT, id INTEGER, message TEXT, mailing INTEGER, second INTEGER, profile INTEGER, subprofile INTEGER,
  recipient TEXT, unsubscribed INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (product, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS destinations_message ON destinations (product, message);
CREATE INDEX IF NOT EXISTS destinations_mailing ON destinations (product, mailing, id);
CREATE INDEX IF NOT EXISTS destinations_second ON destinations (product, second, id);
CREATE TRIGGER IF NOT EXISTS sent AFTER INSERT ON destinations BEGIN
  INSERT INTO mailings (product, id, second, destinations) VALUES (NEW.product, NEW.mailing, NEW.second, 1)
  ON CONFLICT DO UPDATE SET destinations = destinations + 1, second = min(second, excluded.second);
END;
CREATE TRIGGER IF NOT EXISTS sent_earlier AFTER UPDATE OF second ON destinations BEGIN
  UPDATE mailings SET second = min(second, NEW.second) WHERE product = NEW.product AND id = NEW.mailing;
END;
CREATE TABLE IF NOT EXISTS results (
  product TEXT, kind TEXT, id INTEGER, second INTEGER, destination INTEGER, mailing INTEGER, told BLOB,
  PRIMARY KEY (product, kind, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS results_second ON results (product, kind, second, id);
CREATE INDEX IF NOT EXISTS results_mailing ON results (product, mailing, kind, second, id, destination);
CREATE INDEX IF NOT EXISTS results_destination ON results (product, destination, kind, second, id);
CREATE TABLE IF NOT EXISTS profiles (
  kind TEXT, id INTEGER, parent INTEGER, owner INTEGER, fields TEXT NOT NULL DEFAULT '{}',
  interests TEXT NOT NULL DEFAULT '{}', created INTEGER, modified INTEGER, removed INTEGER,
  PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS profiles_parent ON profiles (kind, parent, id);
CREATE INDEX IF NOT EXISTS profiles_owner ON profiles (kind, owner, id);
CREATE TRIGGER IF NOT EXISTS addressed AFTER INSERT ON destinations
WHEN NEW.profile IS NOT NULL AND NEW.recipient IS NOT NULL BEGIN
  INSERT INTO profiles (kind, id, parent, fields, created, modified)
  VALUES ('profile', NEW.profile, 7, json_object('email', NEW.recipient), NEW.second, NEW.second)
  ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER IF NOT EXISTS addressed_later AFTER UPDATE OF profile, recipient ON destinations
WHEN NEW.profile IS NOT NULL AND NEW.recipient IS NOT NULL BEGIN
  INSERT INTO profiles (kind, id, parent, fields, created, modified)
  VALUES ('profile', NEW.profile, 7, json_object('email', NEW.recipient), NEW.second, NEW.second)
  ON CONFLICT DO NOTHING;
END;
"""
#: Of a message that is known, only what is unknown is added.
ADD = """
INSERT INTO destinations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
  second = min(second, excluded.second), profile = coalesce(profile, excluded.profile),
  subprofile = coalesce(subprofile, excluded.subprofile), recipient = coalesce(recipient, excluded.recipient),
  unsubscribed = max(unsubscribed, excluded.unsubscribed)
WHERE excluded.second < second OR excluded.unsubscribed > unsubscribed
  OR profile IS NULL OR subprofile IS NULL OR recipient IS NULL
"""
