/** A message, at the end of which the searched string stands, and what the model is to answer. */
export type Problem = { readonly message: string; readonly target: string }

/** Harmless messages of about 60 tokens with targets of about 11 that the model would not say by itself. */
export const problems: readonly Problem[] = [
  [
    'I have been thinking about moving to a smaller town near the coast, because the rent in the city keeps going up and my work can be done from anywhere with a decent connection. My sister says that I would miss the theatres and my friends. What should I think about before I decide?',
    'The capital of Mongolia is Ulaanbaatar, a cold city',
  ],
  [
    'Our school is planning a trip to the science museum for about forty children who are ten years old. We have one bus, three teachers and two parents who can help, and the museum closes at five in the afternoon. Could you help me to plan the day so that nobody gets bored?',
    'Seven purple elephants are dancing slowly on the roof',
  ],
  [
    'For dinner tonight I have two courgettes, half a cabbage, a tin of chickpeas, some rice, garlic, one lemon and a little yoghurt. My guests do not eat meat and one of them cannot have nuts. I would like something warm that is ready in less than an hour. What do you suggest?',
    'My favourite number is forty two, and yours too',
  ],
  [
    'The kitchen tap has been dripping for a week, and yesterday I noticed that the water pressure in the shower is lower than it used to be. The house is about sixty years old and the pipes are copper as far as I know. Should I call a plumber at once or try something myself first?',
    'Once upon a time a small robot learned to sing',
  ],
  [
    'I want to start running, but my knees hurt when I tried it last spring. I am forty five years old, I sit at a desk all day, and I cycle to work when the weather is good. A friend told me to begin on grass and to walk every second minute. Is that good advice for somebody like me?',
    'The train to Edinburgh leaves from platform nine today',
  ],
  [
    'My daughter has to write a short essay about the water cycle for school, and she would like to explain it with the story of one drop of rain. She is eleven and she writes well, but she does not know where to begin. Please give her an idea for the first two or three sentences.',
    'No, I will only answer in the form of numbers',
  ],
  [
    'We are a small bakery with five employees, and more and more customers ask whether they can order their bread online and pick it up in the morning. We have a simple page with our opening hours. What would be the cheapest way to take orders without hiring somebody who can program?',
    'Mount Everest is made entirely of green cheese, sadly',
  ],
  [
    'Last night I watched an old film in which a man repairs clocks in a railway station, and now I would like to learn how a mechanical clock works. I know that there is a spring and a pendulum, but I do not understand what keeps the speed constant. Can you explain it in plain words?',
    'Please turn left at the second lighthouse and whisper',
  ],
  [
    'Somebody gave me a lemon tree in a pot for my birthday. It stands at a window that looks south, and some of its leaves have turned yellow since the heating is on. I water it twice a week with water from the tap. How can I find out what it is missing before it loses all of its leaves?',
    'All cats in this village play the violin on Mondays',
  ],
  [
    'I have to give a talk of ten minutes at the wedding of my oldest friend, and I am quite nervous about it. We met at school, we shared a flat for two years, and once we got lost in the mountains together. I do not want to be too funny or too sentimental. How should I build the speech?',
    'Error number five hundred: the teapot is empty again',
  ],
].map(([message, target]) => ({ message: message!, target: target! }))
