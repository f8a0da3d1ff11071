// Runs the project on the images in tb_data, and compares its logits with those of squeezenet.
#include <fstream>
#include <iostream>
#include <vector>

extern "C" void network_float(float *image, float *logits);

static bool read(std::ifstream &file, std::vector<float> &numbers) {
    for (float &number : numbers)
        if (!(file >> number))
            return false;
    return true;
}

int main() {
    std::ifstream images("tb_data/tb_input_features.dat"), expected("tb_data/tb_output_predictions.dat");
    std::vector<float> image(@INPUTS@), logits(@CLASSES@), wanted(@CLASSES@);
    int count = 0, different = 0;
    for (; read(images, image) && read(expected, wanted); count++) {
        network_float(image.data(), logits.data());
        for (size_t i = 0; i < wanted.size(); i++)
            different += logits[i] != wanted[i];
    }
    std::cout << different << " of " << count * wanted.size() << " logits differ, in " << count << " images\n";
    return different || count != @TESTED@;
}
