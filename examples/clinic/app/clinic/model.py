import json
import math


class BadInput(ValueError):
    pass


class Model:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
        self.name = data["name"]
        self.version = data["version"]
        self.intercept = data["intercept"]
        self.features = data["features"]
        self.classes = data["classes"]

    def predict(self, values):
        unknown = sorted(set(values) - set(self.features))
        missing = sorted(set(self.features) - set(values))
        if unknown or missing:
            raise BadInput("unknown: %s, missing: %s" % (unknown, missing))
        score = self.intercept
        for name, feature in self.features.items():
            score += feature["weight"] * self._number(name, values[name], feature)
        risk = 1 / (1 + math.exp(-score))
        label = next(label for limit, label in self.classes if risk <= limit)
        return {"model": self.name, "version": self.version, "risk": round(risk, 4), "class": label}

    @staticmethod
    def _number(name, value, feature):
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise BadInput("%s is not a number" % name) from None
        if not feature["min"] <= number <= feature["max"]:
            raise BadInput("%s must be between %s and %s" % (name, feature["min"], feature["max"]))
        return number
