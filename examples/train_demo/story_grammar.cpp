// The language of the demo model. A symbol's features are part of its name: np.animal.pl is a noun phrase about several
// animals, chain.she.red.box the rest of a story about a woman with a red box.
#include "grammar.hpp"

#include <initializer_list>
#include <string>
#include <vector>

namespace train_demo {

namespace {

using words = std::initializer_list<const char*>;

constexpr words numbers = {"one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"};
constexpr words kinds = {"person", "animal"};
constexpr words counts = {"sg", "pl"};
constexpr words genders = {"he", "she"};
constexpr words colors = {"red", "blue", "green", "yellow", "white", "black"};
constexpr words objects = {"box", "hat", "drum", "kite", "lamp", "ball"};

std::string number(std::size_t n) {
    return numbers.begin()[n - 1];
}

/// The k-th word of a list has a weight proportional to 1/(k + 2): some are common, some are rare.
double zipf(std::size_t k) {
    return 1.0 / static_cast<double>(k + 2);
}

void add_words(grammar& g, const std::string& symbol, words list, const std::string& ending = "") {
    std::size_t k = 0;
    for (const char* word : list)
        g.add(symbol, zipf(k++), word + ending);
}

/// Nouns and verbs: number is in the ending, and people and animals do different things.
void add_lexicon(grammar& g) {
    for (const std::string count : counts) {
        const std::string noun = count == "pl" ? "s" : "", verb = count == "pl" ? "" : "s";
        add_words(g, "noun.person." + count,
                  {"teacher", "baker", "sailor", "doctor", "farmer", "painter", "king", "queen"}, noun);
        add_words(g, "noun.animal." + count, {"cat", "dog", "bird", "horse", "goat", "duck", "frog", "bear"}, noun);
        add_words(g, "act.person." + count, {"work", "sing", "laugh", "read", "wait", "dance"}, verb);
        add_words(g, "act.animal." + count, {"sleep", "run", "eat", "jump", "hide", "play"}, verb);
        add_words(g, "act_on." + count, {"see", "like", "hear", "follow", "help", "find"}, verb);
    }
    add_words(g, "adjective", {"old", "small", "young", "tall", "quiet", "happy"});
    add_words(g, "place",
              {"in the garden", "near the river", "by the sea", "at the market", "under the bridge", "on the hill"});
    add_words(g, "name.he", {"Tom", "Ben", "Karl", "Paul"});
    add_words(g, "name.she", {"Anna", "Mary", "Ruth", "Lucy"});
    add_words(g, "did", {"painted", "lost", "found", "sold", "opened", "carried"});
    g.add("where", 6, "");
    g.add("where", 4, " <place>");
}

/// "The cats that the dog sees sleep in the garden": clauses within clauses, and the verb still agrees.
void add_facts(grammar& g) {
    for (const std::string kind : kinds)
        for (const std::string count : counts) {
            const std::string who = kind + "." + count, phrase = "np." + who, noun = "<noun." + who + ">";
            g.add(phrase, 50, noun);
            g.add(phrase, 22, "<adjective> " + noun);
            g.add(phrase, 15, noun + " that <does." + who + ">");
            g.add("does." + who, 55, "<act." + who + ">");
            for (const std::string other_kind : kinds)
                for (const std::string other_count : counts) {
                    const std::string other = other_kind + "." + other_count;
                    g.add(phrase, 13.0 / 4, noun + " that the <np." + other + "> <act_on." + other_count + ">");
                    g.add("does." + who, 45.0 / 4, "<act_on." + count + "> the <np." + other + ">");
                }
            g.add("fact", 1, "The <" + phrase + "> <does." + who + "><where>");
        }
}

/// "He counted from two to four: two, three, four." and "There were two cats and three kings, five in all."
void add_arithmetic(grammar& g) {
    for (std::size_t first = 1; first <= 5; ++first)
        for (std::size_t last = first + 2; last <= first + 5; ++last) {
            std::string text = "counted from " + number(first) + " to " + number(last) + ":";
            for (std::size_t n = first; n <= last; ++n)
                text += " " + number(n) + (n == last ? "." : ",");
            g.add("counting", 1, text);
        }
    for (std::size_t a = 2; a <= 5; ++a)
        for (std::size_t b = 2; b <= 5; ++b)
            g.add("sum", 1,
                  "There were " + number(a) + " <noun.animal.pl> and " + number(b) + " <noun.person.pl>, " +
                      number(a + b) + " in all.");
}

/// The first sentence says who the story is about and what they have; later ones come back to it.
void add_story(grammar& g, const std::string& gender, std::size_t color, std::size_t object) {
    const std::string thing = std::string(colors.begin()[color]) + " " + objects.begin()[object];
    const std::string rest = "chain." + gender + "." + thing, sentence = "sentence." + gender + "." + thing;
    const std::string subject = gender == "he" ? "He" : "She", possessive = gender == "he" ? "his " : "her ";
    g.add("story", zipf(color) * zipf(object), "<name." + gender + "> has a " + thing + ".<" + rest + ">");
    g.add(rest, 18, "\n");
    g.add(rest, 82, " <" + sentence + "><" + rest + ">");
    g.add(sentence, 30, subject + " <did> " + possessive + thing + "<where>.");
    g.add(sentence, 36, "<fact>.");
    g.add(sentence, 8, subject + " said: \"<fact>.\"");
    g.add(sentence, 6, subject + " shouted: \"<fact>!\"");
    g.add(sentence, 10, subject + " <counting>");
    g.add(sentence, 10, "<sum>");
}

}  // namespace

grammar story_grammar() {
    grammar g;
    add_lexicon(g);
    add_facts(g);
    add_arithmetic(g);
    for (const char* gender : genders)
        for (std::size_t color = 0; color < colors.size(); ++color)
            for (std::size_t object = 0; object < objects.size(); ++object)
                add_story(g, gender, color, object);
    return g;
}

}  // namespace train_demo
